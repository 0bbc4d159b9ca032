// Convolutions of images in the layout of images.h.
#pragma once

#include <algorithm>
#include <vector>

#include "images.h"

// The size of an image behind a stride, and the number of every stride-th pixel of an image.
inline int halved(int size, int stride) { return (size + stride - 1) / stride; }

// Sums of neighbours, one for each channel and pixel of the outputs: a number of the channel, and over all taps a weight
// times the input that the tap lies on. Places count in vectors.
struct Sums {
    // For each pixel its place in its channel, and the place among the inputs that its taps count from.
    std::vector<int> out, in;
    std::vector<int> taps;
};

// PIXELS outputs from number `pixel` on, of CHANNELS channels from `channel` on; they stay in registers.
//
// weights: (taps, channels); out: its channels lie channel_stride vectors from each other; start: a number a channel, or
// null.
template <int CHANNELS, int PIXELS>
inline void sum_taps(const Sums& of, const Matrix& weights, int pixel, int channel, Vector* out, std::ptrdiff_t channel_stride, const Vector* in, const float* start) {
    Vector sums[CHANNELS][PIXELS];
    const Vector* from[PIXELS];
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; ++p) from[p] = in + of.in[pixel + p];
#pragma GCC unroll 8
    for (int c = 0; c < CHANNELS; ++c)
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; ++p) sums[c][p] = Vector{} + (start ? start[channel + c] : 0.0f);
    const float* factors = weights[0] + channel;
    for (const int tap : of.taps) {
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; ++c)
#pragma GCC unroll 8
            for (int p = 0; p < PIXELS; ++p) sums[c][p] += factors[c] * from[p][tap];
        factors += weights.stride;
    }
#pragma GCC unroll 8
    for (int c = 0; c < CHANNELS; ++c)
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; ++p) out[(channel + c) * channel_stride + of.out[pixel + p]] = sums[c][p];
}

// PIXELS outputs of all channels.
template <int PIXELS>
inline void sum_channels(const Sums& of, const Matrix& weights, int pixel, Vector* out, std::ptrdiff_t channel_stride, const Vector* in, const float* start) {
    constexpr int CHANNELS = 4;
    const int channels = weights.columns;
    int channel = 0;
    for (; channel + CHANNELS <= channels; channel += CHANNELS)
        sum_taps<CHANNELS, PIXELS>(of, weights, pixel, channel, out, channel_stride, in, start);
    for (; channel < channels; ++channel) sum_taps<1, PIXELS>(of, weights, pixel, channel, out, channel_stride, in, start);
}

// All outputs.
inline void sum_all(const Sums& of, const Matrix& weights, Vector* out, std::ptrdiff_t channel_stride, const Vector* in, const float* start) {
    constexpr int PIXELS = 3;
    const int pixels = int(of.out.size());
    int pixel = 0;
    for (; pixel + PIXELS <= pixels; pixel += PIXELS) sum_channels<PIXELS>(of, weights, pixel, out, channel_stride, in, start);
    for (; pixel < pixels; ++pixel) sum_channels<1>(of, weights, pixel, out, channel_stride, in, start);
}

// The gradient by CHANNELS times TAPS neighbours in a row of the kernel: sums += the products of slopes and pixels.
//
// sums: the taps lie `stride` vectors from each other; in: pixels at `step` from each other, rows at row_stride;
// slopes: (height, width), the channels channel_stride vectors from each other.
template <int CHANNELS, int TAPS>
__attribute__((noinline)) void add_products(Vector* sums, int stride, const Vector* in, int step, int row_stride, const Vector* slopes, std::ptrdiff_t channel_stride, int height, int width) {
    Vector totals[TAPS][CHANNELS];
    const Vector* of_channel[CHANNELS];
#pragma GCC unroll 8
    for (int c = 0; c < CHANNELS; ++c) of_channel[c] = slopes + c * channel_stride;
#pragma GCC unroll 8
    for (int t = 0; t < TAPS; ++t)
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; ++c) totals[t][c] = sums[t * stride + c];
    for (int row = 0, n = 0; row < height; ++row, in += row_stride)
        for (const Vector *pixel = in, *end = in + width * step; pixel != end; pixel += step, ++n) {
            // Each is loaded once: with the totals they fill the registers.
            Vector pixels[TAPS];
#pragma GCC unroll 8
            for (int t = 0; t < TAPS; ++t) pixels[t] = pixel[t];
#pragma GCC unroll 8
            for (int c = 0; c < CHANNELS; ++c) {
                const Vector slope = of_channel[c][n];
#pragma GCC unroll 8
                for (int t = 0; t < TAPS; ++t) totals[t][c] += pixels[t] * slope;
            }
        }
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

// A convolution whose gradient can be summed over several calls.
struct SummingLayer : Layer {
    using Layer::Layer;

    // Before the first call of add_gradient since the parameters have changed.
    virtual void begin_gradient() = 0;
    // From the slopes dy by y to those by x, unless dx is null, and adds to the sums. All are of WIDTH examples.
    virtual void add_gradient(const Vector* x, const Vector* dy, Vector* dx) = 0;
    // Adds the sums of another layer, which shares the parameters.
    virtual void add_sums(const SummingLayer& other) = 0;
    // Writes the gradient.
    virtual void end_gradient() = 0;
};

// y[o, r, c] = bias[o] + sum over i, u, v of weight[i, u, v, o] x[i, stride r + u - top, stride c + v - left], where what
// lies outside is zero; top and left are half of what lies outside, rounded down. Of fewer outputs nothing is outside.
// Parameters (inputs KERNEL^2 + 1, outputs), of channels: the weights, and the bias as the last row.
template <int KERNEL>
struct Convolution : SummingLayer {
    // The inputs whose row and column are these behind a stride: their slopes meet the same of the weights.
    struct Class {
        Sums sums;
        // Of each tap, its number in the kernel; and the weights (taps, inputs).
        std::vector<int> numbers;
        Matrix weights;
    };

    const ImageSize from, to;
    const int step;
    Parameters own;
    Bordered x_bordered, dy_bordered;
    Sums outputs_of_x;
    std::vector<Class> classes;
    Matrix products;

    Convolution(ImageSize from, int channels, int step)
        : Convolution(from, {channels, halved(from.height, step), halved(from.width, step)}, step) {}

    Convolution(ImageSize from, ImageSize to, int step)
        : SummingLayer(int(from.units()), int(to.units())), from(from), to(to), step(step),
          own(from.channels * KERNEL * KERNEL + 1, to.channels),
          x_bordered(from, outside(from.height, to.height, step), outside(from.width, to.width, step)),
          dy_bordered(to, 2 * (KERNEL - 1) - x_bordered.height + from.height, 2 * (KERNEL - 1) - x_bordered.width + from.width),
          products(own.values.rows, to.channels * WIDTH) {
        for (int row = 0; row < to.height; ++row)
            for (int column = 0; column < to.width; ++column) {
                outputs_of_x.out.push_back(row * to.width + column);
                outputs_of_x.in.push_back(x_bordered.place(0, row * step, column * step));
            }
        for (int i = 0; i < from.channels; ++i)
            for (int u = 0; u < KERNEL; ++u)
                for (int v = 0; v < KERNEL; ++v) outputs_of_x.taps.push_back(x_bordered.place(i, u, v));
        for (int row = 0; row < step; ++row)
            for (int column = 0; column < step; ++column) classes.push_back(made_class(row, column));
    }
    Parameters* parameters() override { return &own; }

    void forward(const Matrix& x, Matrix& y, int examples) override {
        const float* bias = own.values[own.values.rows - 1];
        for (int block = 0; block < rows_of(examples, WIDTH); ++block) {
            x_bordered.fill(vectors(x, block));
            sum_all(outputs_of_x, own.values, vectors(y, block), to.pixels(), x_bordered.at(0, 0, 0), bias);
        }
    }

    void backward(const Matrix& x, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        begin_gradient();
        for (int block = 0; block < rows_of(examples, WIDTH); ++block)
            add_gradient(vectors(x, block), vectors(dy, block), dx ? vectors(*dx, block) : nullptr);
        end_gradient();
    }

    void begin_gradient() override {
        std::memset(products[0], 0, products.bytes());
        turn_weights();
    }

    void add_gradient(const Vector* x, const Vector* dy, Vector* dx) override {
        x_bordered.fill(x);
        add_to_products(dy);
        if (!dx) return;
        dy_bordered.fill(dy);
        for (const Class& each : classes)
            sum_all(each.sums, each.weights, dx, from.pixels(), dy_bordered.at(0, 0, 0), nullptr);
    }

    void add_sums(const SummingLayer& other) override {
        const Matrix& more = static_cast<const Convolution&>(other).products;
        Vector *sums = vectors(products, 0);
        const Vector* added = vectors(more, 0);
        for (std::size_t n = 0; n < products.bytes() / sizeof(Vector); ++n) sums[n] += added[n];
    }

    void end_gradient() override {
        for (int tap = 0; tap < own.values.rows; ++tap)
            for (int o = 0; o < to.channels; ++o) own.gradient[tap][o] = sum_of(vectors(products, tap)[o]);
    }

  private:
    // How many rows the kernel reaches beyond an image.
    static int outside(int size, int outputs, int step) { return std::max((outputs - 1) * step + KERNEL - size, 0); }

    // Adds what WIDTH examples, which are in x_bordered, add to the gradient.
    void add_to_products(const Vector* dy) {
        constexpr int CHANNELS = KERNEL == 1 ? 8 : KERNEL == 3 ? 4 : 2;
        const int stride = products.stride / WIDTH;
        auto add = [&](int o, auto function) {
            for (int i = 0; i < from.channels; ++i)
                for (int u = 0; u < KERNEL; ++u)
                    function(vectors(products, (i * KERNEL + u) * KERNEL) + o, stride, x_bordered.at(i, u, 0), step,
                             step * x_bordered.width, dy + o * to.pixels(), to.pixels(), to.height, to.width);
        };
        int o = 0;
        for (; o + CHANNELS <= to.channels; o += CHANNELS) add(o, add_products<CHANNELS, KERNEL>);
        for (; o < to.channels; ++o) add(o, add_products<1, KERNEL>);
        Vector* of_bias = vectors(products, own.values.rows - 1);
        for (int channel = 0; channel < to.channels; ++channel)
            of_bias[channel] += total(to.pixels(), [&](int pixel) { return dy[channel * to.pixels() + pixel]; });
    }

    // Input (row + step r, column + step c) meets the slope at (r + d, c + e) by the weight at (u, v), where
    // row + top - u = step d, and likewise for columns.
    Class made_class(int row, int column) const {
        Sums sums;
        std::vector<int> numbers;
        for (int r = 0; row + step * r < from.height; ++r)
            for (int c = 0; column + step * c < from.width; ++c) {
                sums.out.push_back((row + step * r) * from.width + column + step * c);
                sums.in.push_back(dy_bordered.place(0, dy_bordered.top + r, dy_bordered.left + c));
            }
        for (int o = 0; o < to.channels; ++o)
            for (int u = (row + x_bordered.top) % step; u < KERNEL; u += step)
                for (int v = (column + x_bordered.left) % step; v < KERNEL; v += step) {
                    const int d = (row + x_bordered.top - u) / step, e = (column + x_bordered.left - v) / step;
                    numbers.push_back(u * KERNEL + v);
                    sums.taps.push_back(dy_bordered.place(o, d, e));
                }
        Matrix weights(int(numbers.size()), from.channels);
        return {std::move(sums), std::move(numbers), std::move(weights)};
    }

    // Copies the weights to where the slopes by the inputs want them: a row a tap, a column an input.
    void turn_weights() {
        for (Class& each : classes) {
            const int taps = int(each.numbers.size()), of_output = taps / to.channels;
            for (int n = 0; n < taps; ++n)
                for (int i = 0; i < from.channels; ++i)
                    each.weights[n][i] = own.values[i * KERNEL * KERNEL + each.numbers[n]][n / of_output];
        }
    }
};
