// Layers of images. A row of a matrix has WIDTH examples side by side, in the order channel, row, column, example: so a
// vector has one pixel of each of them, and no loop knows where an image ends. What fills up the last row is finite,
// and its slopes are zero.
#pragma once

#include <algorithm>
#include <cmath>

#include "arguments.h"
#include "layers.h"

struct ImageSize {
    int channels, height, width;

    int pixels() const { return height * width; }
    std::int64_t units() const { return std::int64_t(channels) * height * width; }
};

// How many rows of a matrix so many examples take.
inline int rows_of(int examples, int lanes) { return (examples + lanes - 1) / lanes; }

inline Vector* vectors(Matrix& matrix, int row) { return reinterpret_cast<Vector*>(matrix[row]); }
inline const Vector* vectors(const Matrix& matrix, int row) { return reinterpret_cast<const Vector*>(matrix[row]); }

inline float sum_of(Vector vector) {
    float sum = 0.0f;
    for (int lane = 0; lane < WIDTH; ++lane) sum += vector[lane];
    return sum;
}

// The sum of value(0) to value(count - 1), four side by side: each waits for its own last one only.
template <typename Function>
inline Vector total(int count, Function value) {
    Vector sums[4] = {};
    int n = 0;
    for (; n + 4 <= count; n += 4)
        for (int k = 0; k < 4; ++k) sums[k] += value(n + k);
    for (; n < count; ++n) sums[0] += value(n);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Rows (examples, units) as images; places without an example are zero.
inline void to_images(const Matrix& rows, Matrix& images, int units, int examples) {
    for (int row = 0; row < rows_of(examples, WIDTH); ++row)
        for (int lane = 0; lane < WIDTH; ++lane) {
            const int example = row * WIDTH + lane;
            float* to = images[row] + lane;
            if (example < examples)
                for (int unit = 0; unit < units; ++unit) to[unit * WIDTH] = rows[example][unit];
            else
                for (int unit = 0; unit < units; ++unit) to[unit * WIDTH] = 0.0f;
        }
}

inline void to_rows(const Matrix& images, Matrix& rows, int units, int examples) {
    for (int example = 0; example < examples; ++example) {
        const float* from = images[example / WIDTH] + example % WIDTH;
        for (int unit = 0; unit < units; ++unit) rows[example][unit] = from[unit * WIDTH];
    }
}

// Rows of numbers as images.
struct ToImages : Layer {
    explicit ToImages(int units) : Layer(units, units) {}

    void forward(const Matrix& x, Matrix& y, int examples) override { to_images(x, y, inputs, examples); }

    void backward(const Matrix&, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        if (dx) to_rows(dy, *dx, inputs, examples);
    }
};

// Images as rows of numbers.
struct Flatten : Layer {
    explicit Flatten(int units) : Layer(units, units) {}

    void forward(const Matrix& x, Matrix& y, int examples) override { to_rows(x, y, inputs, examples); }

    void backward(const Matrix&, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        if (dx) to_images(dy, *dx, inputs, examples);
    }
};

// A layer that makes one pixel of 2 x 2; of an odd size the last row or column is left out.
struct Pool : Layer {
    const ImageSize size;

    explicit Pool(ImageSize size)
        : Layer(size.channels * size.pixels(), size.channels * (size.height / 2) * (size.width / 2)), size(size) {
        if (!outputs) Arguments::fail("a pooling of a single row or column");
    }

    // Applies `pool` to the place of the first of each 2 x 2 pixels in x, and to that of their pixel in y.
    template <typename Function>
    void each(Function pool) const {
        int to = 0;
        for (int channel = 0; channel < size.channels; ++channel)
            for (int row = 0; row < size.height / 2; ++row)
                for (int column = 0; column < size.width / 2; ++column)
                    pool((channel * size.height + 2 * row) * size.width + 2 * column, to++);
    }
};

// The largest of 2 x 2 pixels; of equal ones the first has the slope. NaN is larger than any number.
struct MaxPool : Pool {
    using Pool::Pool;

    static Vector larger(Vector a, Vector b) { return (b > a) | (b != b) ? b : a; }

    void forward(const Matrix& x, Matrix& y, int examples) override {
        for (int row = 0; row < rows_of(examples, WIDTH); ++row) {
            const Vector* from = vectors(x, row);
            Vector* to = vectors(y, row);
            each([&](int first, int pixel) {
                const Vector* below = from + size.width;
                to[pixel] = larger(larger(from[first], from[first + 1]), larger(below[first], below[first + 1]));
            });
        }
    }

    void backward(const Matrix& x, const Matrix& y, const Matrix& dy, Matrix* dx, int examples) override {
        if (!dx) return;
        for (int row = 0; row < rows_of(examples, WIDTH); ++row) {
            const Vector *of = vectors(x, row), *largest = vectors(y, row), *from = vectors(dy, row);
            Vector* to = vectors(*dx, row);
            std::memset(to, 0, inputs * sizeof(Vector));
            each([&](int first, int pixel) {
                Vector left = from[pixel];
                for (int place : {first, first + 1, first + size.width, first + size.width + 1}) {
                    const auto has_it = of[place] == largest[pixel];
                    to[place] = has_it ? left : Vector{};
                    left = has_it ? Vector{} : left;
                }
            });
        }
    }
};

// The mean of 2 x 2 pixels.
struct AveragePool : Pool {
    using Pool::Pool;

    void forward(const Matrix& x, Matrix& y, int examples) override {
        for (int row = 0; row < rows_of(examples, WIDTH); ++row) {
            const Vector* from = vectors(x, row);
            Vector* to = vectors(y, row);
            each([&](int first, int pixel) {
                const Vector* below = from + size.width;
                to[pixel] = 0.25f * ((from[first] + from[first + 1]) + (below[first] + below[first + 1]));
            });
        }
    }

    void backward(const Matrix&, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        if (!dx) return;
        for (int row = 0; row < rows_of(examples, WIDTH); ++row) {
            const Vector* from = vectors(dy, row);
            Vector* to = vectors(*dx, row);
            std::memset(to, 0, inputs * sizeof(Vector));
            each([&](int first, int pixel) {
                for (int place : {first, first + 1, first + size.width, first + size.width + 1})
                    to[place] = 0.25f * from[pixel];
            });
        }
    }
};

// The mean of each channel: y (examples, channels), as rows.
struct GlobalAverage : Layer {
    const int pixels;

    explicit GlobalAverage(ImageSize size) : Layer(size.channels * size.pixels(), size.channels), pixels(size.pixels()) {}

    void forward(const Matrix& x, Matrix& y, int examples) override {
        for (int example = 0; example < examples; example += WIDTH) {
            const Vector* from = vectors(x, example / WIDTH);
            for (int channel = 0; channel < outputs; ++channel) {
                Vector sum{};
                for (int pixel = 0; pixel < pixels; ++pixel) sum += *from++;
                for (int lane = 0; lane < WIDTH && example + lane < examples; ++lane)
                    y[example + lane][channel] = sum[lane] / float(pixels);
            }
        }
    }

    void backward(const Matrix&, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        if (!dx) return;
        for (int example = 0; example < examples; example += WIDTH) {
            Vector* to = vectors(*dx, example / WIDTH);
            for (int channel = 0; channel < outputs; ++channel) {
                Vector slope{};
                for (int lane = 0; lane < WIDTH && example + lane < examples; ++lane)
                    slope[lane] = dy[example + lane][channel] / float(pixels);
                for (int pixel = 0; pixel < pixels; ++pixel) *to++ = slope;
            }
        }
    }
};

// y = x, to which an earlier image is added: one of no more channels, of as many pixels or of which every second row and
// column is taken.
struct Shortcut : Layer {
    const ImageSize from, to;
    const int step;

    Shortcut(ImageSize from, ImageSize to)
        : Layer(int(to.units()), int(to.units())), from(from), to(to),
          step(from.height == to.height && from.width == to.width ? 1 : 2) {}

    void forward(const Matrix& x, Matrix& y, int examples) override { copy(x, y, examples); }

    void backward(const Matrix&, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        if (dx) copy(dy, *dx, examples);
    }

    void add(const Matrix& earlier, Matrix& y, int examples) const {
        each(examples, [&](int row, int of_earlier, int of_y) { vectors(y, row)[of_y] += vectors(earlier, row)[of_earlier]; });
    }

    // The slopes by the earlier image get those by y.
    void add_slopes(const Matrix& dy, Matrix& slopes, int examples) const {
        each(examples, [&](int row, int of_earlier, int of_y) { vectors(slopes, row)[of_earlier] += vectors(dy, row)[of_y]; });
    }

  private:
    void copy(const Matrix& x, Matrix& y, int examples) const {
        for (int row = 0; row < rows_of(examples, WIDTH); ++row) std::copy_n(x[row], inputs * WIDTH, y[row]);
    }

    // Applies `function` to each row, and to the places of a pixel of the earlier image and of that which it is added to.
    template <typename Function>
    void each(int examples, Function function) const {
        for (int row = 0; row < rows_of(examples, WIDTH); ++row)
            for (int channel = 0; channel < from.channels; ++channel)
                for (int line = 0; line < to.height; ++line)
                    for (int column = 0; column < to.width; ++column)
                        function(row, (channel * from.height + step * line) * from.width + step * column,
                                 (channel * to.height + line) * to.width + column);
    }
};

// y = gain (x - mean) / sqrt(variance + 1e-5) + shift, mean and variance over a group of an example's channels.
// Parameters (2, channels): gain, shift.
struct GroupNormalisation : Layer {
    const int groups, of_group, pixels;
    Parameters own;
    Matrix normal, scale;

    GroupNormalisation(ImageSize size, int groups, int most_examples)
        : Layer(size.channels * size.pixels(), size.channels * size.pixels()), groups(groups),
          of_group(size.channels / groups), pixels(size.pixels()), own(2, size.channels),
          normal(rows_of(most_examples, WIDTH), inputs * WIDTH), scale(rows_of(most_examples, WIDTH), groups * WIDTH) {}
    Parameters* parameters() override { return &own; }

    void forward(const Matrix& x, Matrix& y, int examples) override {
        const float *gain = own.values[0], *shift = own.values[1];
        const int units = of_group * pixels;
        for (int row = 0; row < rows_of(examples, WIDTH); ++row)
            for (int group = 0; group < groups; ++group) {
                const Vector* from = vectors(x, row) + group * units;
                Vector *of = vectors(normal, row) + group * units, *to = vectors(y, row) + group * units;
                const Vector mean = total(units, [&](int n) { return from[n]; }) / float(units);
                const Vector variance =
                    total(units, [&](int n) { return (from[n] - mean) * (from[n] - mean); }) / float(units);
                Vector& factor = vectors(scale, row)[group];
                for (int lane = 0; lane < WIDTH; ++lane) factor[lane] = 1.0f / std::sqrt(variance[lane] + 1e-5f);
                for (int channel = group * of_group; channel < (group + 1) * of_group; ++channel)
                    for (int pixel = 0; pixel < pixels; ++pixel, ++from) {
                        *of = (*from - mean) * factor;
                        *to++ = gain[channel] * *of++ + shift[channel];
                    }
            }
    }

    void backward(const Matrix&, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        const float* gain = own.values[0];
        float *of_gain = own.gradient[0], *of_shift = own.gradient[1];
        const int units = of_group * pixels;
        std::memset(of_gain, 0, own.gradient.bytes());
        for (int row = 0; row < rows_of(examples, WIDTH); ++row)
            for (int group = 0; group < groups; ++group) {
                const Vector *from = vectors(dy, row) + group * units, *of = vectors(normal, row) + group * units;
                Vector mean{}, along{};
                for (int channel = 0; channel < of_group; ++channel) {
                    const int place = group * of_group + channel, first = channel * pixels;
                    const Vector by_gain = total(pixels, [&](int n) { return from[first + n] * of[first + n]; });
                    const Vector by_shift = total(pixels, [&](int n) { return from[first + n]; });
                    of_gain[place] += sum_of(by_gain);
                    of_shift[place] += sum_of(by_shift);
                    mean += gain[place] * by_shift;
                    along += gain[place] * by_gain;
                }
                if (!dx) continue;
                mean /= float(units);
                along /= float(units);
                const Vector factor = vectors(scale, row)[group];
                Vector* to = vectors(*dx, row) + group * units;
                for (int channel = group * of_group; channel < (group + 1) * of_group; ++channel)
                    for (int pixel = 0; pixel < pixels; ++pixel)
                        *to++ = factor * (gain[channel] * *from++ - mean - *of++ * along);
            }
    }
};
