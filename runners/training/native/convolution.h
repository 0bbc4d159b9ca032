// Convolutions of images in the layout of images.h.
#pragma once

#include <algorithm>
#include <vector>

#include "images.h"

// The size of an image behind a stride, and the number of every stride-th pixel of an image.
inline int halved(int size, int stride) { return (size + stride - 1) / stride; }

// Of CHANNELS channels and PIXELS pixels: out = start + the sum over the taps of weight times the pixel that it lies on.
// The sums stay in registers.
//
// out: the channels lie channel_stride vectors from each other, the pixels out_step; in: the pixels lie in_step;
// offsets: of each tap, from `in` on; weights: a row a tap, a column a channel; start: a number a channel, or null.
template <int CHANNELS, int PIXELS>
inline void sum_taps(Vector* out, std::ptrdiff_t channel_stride, int out_step, const Vector* in, int in_step, const std::vector<int>& offsets, const float* weights, int stride, const float* start) {
    Vector sums[CHANNELS][PIXELS];
#pragma GCC unroll 8
    for (int c = 0; c < CHANNELS; ++c)
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; ++p) sums[c][p] = Vector{} + (start ? start[c] : 0.0f);
    for (const int offset : offsets) {
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; ++c)
#pragma GCC unroll 8
            for (int p = 0; p < PIXELS; ++p) sums[c][p] += weights[c] * in[offset + p * in_step];
        weights += stride;
    }
#pragma GCC unroll 8
    for (int c = 0; c < CHANNELS; ++c)
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; ++p) out[c * channel_stride + p * out_step] = sums[c][p];
}

// The gradient by CHANNELS times TAPS neighbours in a row of the kernel: sums += the products of slopes and pixels.
//
// sums: the taps lie `stride` vectors from each other; in: pixels at `step` from each other, rows at row_stride;
// slopes: (height, width), the channels channel_stride vectors from each other.
template <int CHANNELS, int TAPS>
inline void add_products(Vector* sums, int stride, const Vector* in, int step, int row_stride, const Vector* slopes, std::ptrdiff_t channel_stride, int height, int width) {
    Vector totals[TAPS][CHANNELS];
#pragma GCC unroll 8
    for (int t = 0; t < TAPS; ++t)
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; ++c) totals[t][c] = sums[t * stride + c];
    for (int row = 0; row < height; ++row, in += row_stride)
        for (int column = 0; column < width; ++column, ++slopes)
#pragma GCC unroll 8
            for (int t = 0; t < TAPS; ++t)
#pragma GCC unroll 8
                for (int c = 0; c < CHANNELS; ++c) totals[t][c] += in[column * step + t] * slopes[c * channel_stride];
#pragma GCC unroll 8
    for (int t = 0; t < TAPS; ++t)
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; ++c) sums[t * stride + c] = totals[t][c];
}

// WIDTH images with rows and columns of zeros around them, half of them, rounded down, above and to the left: so no tap
// must know where they end.
struct Bordered {
    const ImageSize inner;
    const int top, left, height, width;
    Matrix pixels;

    Bordered(ImageSize inner, int rows, int columns)
        : inner(inner), top(rows / 2), left(columns / 2), height(inner.height + rows), width(inner.width + columns),
          pixels(1, inner.channels * height * width * WIDTH) {}

    int place(int channel, int row, int column) const { return (channel * height + row) * width + column; }
    const Vector* at(int channel, int row, int column) const {
        return vectors(pixels, 0) + place(channel, row, column);
    }

    void fill(const Vector* from) {
        for (int channel = 0; channel < inner.channels; ++channel)
            for (int row = 0; row < inner.height; ++row, from += inner.width)
                std::copy_n(from, inner.width, vectors(pixels, 0) + place(channel, top + row, left));
    }
};

// y[o, r, c] = bias[o] + sum over i, u, v of weight[i, u, v, o] x[i, stride r + u - top, stride c + v - left], where what
// lies outside is zero; top and left are half of what lies outside, rounded down.
// Parameters (inputs KERNEL^2 + 1, outputs), of channels: the weights, and the bias as the last row.
template <int KERNEL>
struct Convolution : Layer {
    // What the slopes by some of the inputs are summed from: those whose row and column are these behind a stride.
    struct Class {
        int row, column;
        std::vector<int> taps, offsets;
        Matrix weights;
    };

    const ImageSize from, to;
    const int step;
    Parameters own;
    Bordered x_bordered, dy_bordered;
    std::vector<int> offsets;
    std::vector<Class> classes;
    Matrix sums;

    Convolution(ImageSize from, int channels, int step)
        : Layer(int(from.units()), channels * halved(from.height, step) * halved(from.width, step)), from(from),
          to{channels, halved(from.height, step), halved(from.width, step)}, step(step),
          own(from.channels * KERNEL * KERNEL + 1, channels),
          x_bordered(from, outside(from.height, to.height, step), outside(from.width, to.width, step)),
          dy_bordered(to, KERNEL - 1, KERNEL - 1),
          sums(own.values.rows, channels * WIDTH) {
        for (int i = 0; i < from.channels; ++i)
            for (int u = 0; u < KERNEL; ++u)
                for (int v = 0; v < KERNEL; ++v) offsets.push_back(x_bordered.place(i, u, v));
        for (int row = 0; row < step; ++row)
            for (int column = 0; column < step; ++column) classes.push_back(made_class(row, column));
    }
    Parameters* parameters() override { return &own; }

    void forward(const Matrix& x, Matrix& y, int examples) override {
        const int taps = int(offsets.size());
        for (int block = 0; block < rows_of(examples, WIDTH); ++block) {
            x_bordered.fill(vectors(x, block));
            for (int row = 0; row < to.height; ++row)
                sum_row(vectors(y, block) + row * to.width, to.channels, to.pixels(), to.width, 1,
                        x_bordered.at(0, row * step, 0), step, offsets, own.values, own.values[taps]);
        }
    }

    void backward(const Matrix& x, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        std::memset(sums[0], 0, sums.bytes());
        if (dx) turn_weights();
        for (int block = 0; block < rows_of(examples, WIDTH); ++block) {
            x_bordered.fill(vectors(x, block));
            add_to_sums(vectors(dy, block));
            if (!dx) continue;
            dy_bordered.fill(vectors(dy, block));
            for (const Class& each : classes)
                for (int row = each.row; row < from.height; row += step)
                    sum_row(vectors(*dx, block) + row * from.width + each.column, from.channels, from.pixels(),
                            halved(from.width - each.column, step), step, dy_bordered.at(0, row / step, 0), 1,
                            each.offsets, each.weights, nullptr);
        }
        for (int tap = 0; tap < own.values.rows; ++tap)
            for (int o = 0; o < to.channels; ++o) own.gradient[tap][o] = sum_of(vectors(sums, tap)[o]);
    }

  private:
    // How many rows the kernel reaches beyond an image.
    static int outside(int size, int outputs, int step) { return std::max((outputs - 1) * step + KERNEL - size, 0); }

    // A row of all channels: as many pixels as there is room for in registers at once, the last ones twice.
    static void sum_row(Vector* out, int channels, int channel_stride, int width, int out_step, const Vector* in, int in_step, const std::vector<int>& offsets, const Matrix& weights, const float* start) {
        constexpr int CHANNELS = 4, PIXELS = 3;
        auto row_of = [&](int channel, auto at_once, auto one) {
            auto sum = [&](auto function, int column) {
                function(out + channel * std::ptrdiff_t(channel_stride) + column * out_step, channel_stride, out_step,
                         in + column * in_step, in_step, offsets, weights[0] + channel, weights.stride,
                         start ? start + channel : nullptr);
            };
            if (width < PIXELS)
                for (int column = 0; column < width; ++column) sum(one, column);
            else
                for (int column = 0; column < width; column += PIXELS) sum(at_once, std::min(column, width - PIXELS));
        };
        int channel = 0;
        for (; channel + CHANNELS <= channels; channel += CHANNELS)
            row_of(channel, sum_taps<CHANNELS, PIXELS>, sum_taps<CHANNELS, 1>);
        for (; channel < channels; ++channel) row_of(channel, sum_taps<1, PIXELS>, sum_taps<1, 1>);
    }

    // Adds what WIDTH examples, which are in x_bordered, add to the gradient.
    void add_to_sums(const Vector* dy) {
        constexpr int CHANNELS = KERNEL == 3 ? 4 : 2;
        const int stride = sums.stride / WIDTH;
        auto add = [&](int o, auto function) {
            for (int i = 0; i < from.channels; ++i)
                for (int u = 0; u < KERNEL; ++u)
                    function(vectors(sums, (i * KERNEL + u) * KERNEL) + o, stride, x_bordered.at(i, u, 0), step,
                             step * x_bordered.width, dy + o * to.pixels(), to.pixels(), to.height, to.width);
        };
        int o = 0;
        for (; o + CHANNELS <= to.channels; o += CHANNELS) add(o, add_products<CHANNELS, KERNEL>);
        for (; o < to.channels; ++o) add(o, add_products<1, KERNEL>);
        Vector* of_bias = vectors(sums, own.values.rows - 1);
        for (int channel = 0; channel < to.channels; ++channel)
            for (int pixel = 0; pixel < to.pixels(); ++pixel) of_bias[channel] += *dy++;
    }

    // Input (row + step r, column + step c) meets the slope at (r + d, c + e) by the weight at (u, v), where
    // row + top - u = step d, and likewise for columns.
    Class made_class(int row, int column) const {
        std::vector<int> taps, offsets;
        for (int o = 0; o < to.channels; ++o)
            for (int u = (row + x_bordered.top) % step; u < KERNEL; u += step)
                for (int v = (column + x_bordered.left) % step; v < KERNEL; v += step) {
                    const int d = (row + x_bordered.top - u) / step, e = (column + x_bordered.left - v) / step;
                    taps.push_back(u * KERNEL + v);
                    offsets.push_back(dy_bordered.place(o, dy_bordered.top + d, dy_bordered.left + e));
                }
        Matrix weights(int(taps.size()), from.channels);
        return {row, column, std::move(taps), std::move(offsets), std::move(weights)};
    }

    // Copies the weights to where the slopes by the inputs want them: a row a tap, a column an input.
    void turn_weights() {
        for (Class& each : classes) {
            const int of_output = int(each.taps.size()) / to.channels;
            for (int n = 0; n < int(each.taps.size()); ++n)
                for (int i = 0; i < from.channels; ++i)
                    each.weights[n][i] = own.values[i * KERNEL * KERNEL + each.taps[n]][n / of_output];
        }
    }
};
