// Layers, each with a forward and a backward; a batch is a matrix (examples, width), or of images as in images.h.
#pragma once

#include <cmath>

#include "functions.h"
#include "matrix.h"

// What an optimizer changes: parameters, their gradient and two moments, all of one shape.
struct Parameters {
    Matrix values, gradient, first_moment, second_moment;

    Parameters(int rows, int columns)
        : values(rows, columns), gradient(rows, columns), first_moment(rows, columns), second_moment(rows, columns) {}
};

struct Layer {
    const int inputs, outputs;

    Layer(int inputs, int outputs) : inputs(inputs), outputs(outputs) {}
    virtual ~Layer() = default;

    // Writes y (examples, outputs) of x (examples, inputs).
    virtual void forward(const Matrix& x, Matrix& y, int examples) = 0;

    // From the slopes dy by y writes those by x into dx, unless that is null, and the gradient of its parameters.
    virtual void backward(const Matrix& x, const Matrix& y, const Matrix& dy, Matrix* dx, int examples) = 0;

    virtual Parameters* parameters() { return nullptr; }
};

// y = x W + b. Parameters (inputs + 1, outputs): W, and b as the last row.
struct Dense : Layer {
    Parameters own;
    Matrix turned, zeros;

    Dense(int inputs, int outputs)
        : Layer(inputs, outputs), own(inputs + 1, outputs), turned(outputs, inputs),
          zeros(1, inputs > outputs ? inputs : outputs) {}
    Parameters* parameters() override { return &own; }

    void forward(const Matrix& x, Matrix& y, int examples) override {
        multiply(y, examples, Left(x), inputs, own.values, own.values[inputs]);
    }

    void backward(const Matrix& x, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        multiply(own.gradient, inputs, Left(x).transposed(), examples, dy, zeros[0]);
        sum_rows(own.gradient[inputs], dy, examples);
        if (!dx) return;
        transpose(turned, own.values, inputs);
        multiply(*dx, examples, Left(dy), outputs, turned, zeros[0]);
    }
};

// A layer that treats all units alike, of rows and of images: a row of the matrices has `lanes` examples.
struct Elementwise : Layer {
    const int lanes;

    Elementwise(int width, int lanes) : Layer(width, width), lanes(lanes) {}

    // How many numbers of a matrix there are to treat.
    int count(const Matrix& x, int examples) const { return (examples + lanes - 1) / lanes * x.stride; }
};

// y = max(x, 0).
struct Relu : Elementwise {
    using Elementwise::Elementwise;

    void forward(const Matrix& x, Matrix& y, int examples) override {
        const float* from = x[0];
        float* to = y[0];
        // NaN stays NaN.
        const int end = count(x, examples);
        for (int n = 0; n < end; ++n) to[n] = from[n] < 0.0f ? 0.0f : from[n];
    }

    void backward(const Matrix&, const Matrix& y, const Matrix& dy, Matrix* dx, int examples) override {
        if (!dx) return;
        const float *of = y[0], *from = dy[0];
        float* to = (*dx)[0];
        const int end = count(y, examples);
        for (int n = 0; n < end; ++n) to[n] = of[n] > 0.0f ? from[n] : 0.0f;
    }
};

// y = x s with s = 1 / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3), the form with the hyperbolic tangent.
struct Gelu : Elementwise {
    static constexpr float ROOT = 0.7978845608f, CUBIC = 0.044715f;

    using Elementwise::Elementwise;

    static float sigmoid(float x) {
        return 1.0f / (1.0f + exponential(-2.0f * ROOT * (x + CUBIC * x * x * x)));
    }

    void forward(const Matrix& x, Matrix& y, int examples) override {
        const float* from = x[0];
        float* to = y[0];
        const int end = count(x, examples);
        for (int n = 0; n < end; ++n) to[n] = from[n] * sigmoid(from[n]);
    }

    void backward(const Matrix& x, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        if (!dx) return;
        const float *of = x[0], *from = dy[0];
        float* to = (*dx)[0];
        const int end = count(x, examples);
        for (int n = 0; n < end; ++n) {
            const float s = sigmoid(of[n]), du = ROOT * (1.0f + 3.0f * CUBIC * of[n] * of[n]);
            to[n] = from[n] * s * (1.0f + 2.0f * of[n] * (1.0f - s) * du);
        }
    }
};

// y = gain (x - mean) / sqrt(variance + 1e-5) + shift, over the units of an example. Parameters (2, width): gain, shift.
struct LayerNormalisation : Layer {
    Parameters own;
    Matrix normal, scale;

    LayerNormalisation(int width, int most_examples)
        : Layer(width, width), own(2, width), normal(most_examples, width), scale(1, most_examples) {}
    Parameters* parameters() override { return &own; }

    void forward(const Matrix& x, Matrix& y, int examples) override {
        const float *gain = own.values[0], *shift = own.values[1];
        for (int example = 0; example < examples; ++example) {
            const float* from = x[example];
            float mean = 0.0f, variance = 0.0f;
            for (int n = 0; n < inputs; ++n) mean += from[n];
            mean /= inputs;
            for (int n = 0; n < inputs; ++n) variance += (from[n] - mean) * (from[n] - mean);
            variance /= inputs;
            scale[0][example] = 1.0f / std::sqrt(variance + 1e-5f);
            for (int n = 0; n < inputs; ++n) {
                normal[example][n] = (from[n] - mean) * scale[0][example];
                y[example][n] = gain[n] * normal[example][n] + shift[n];
            }
        }
    }

    void backward(const Matrix&, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        const float* gain = own.values[0];
        float *of_gain = own.gradient[0], *of_shift = own.gradient[1];
        std::memset(of_gain, 0, own.gradient.bytes());
        for (int example = 0; example < examples; ++example) {
            const float *from = dy[example], *of = normal[example];
            float mean = 0.0f, along = 0.0f;
            for (int n = 0; n < inputs; ++n) {
                of_gain[n] += from[n] * of[n];
                of_shift[n] += from[n];
                mean += gain[n] * from[n];
                along += gain[n] * from[n] * of[n];
            }
            if (!dx) continue;
            mean /= inputs;
            along /= inputs;
            for (int n = 0; n < inputs; ++n)
                (*dx)[example][n] = scale[0][example] * (gain[n] * from[n] - mean - of[n] * along);
        }
    }
};

// y = s x, a factor for each unit. Parameters (1, width): s.
struct Scale : Layer {
    Parameters own;

    explicit Scale(int width) : Layer(width, width), own(1, width) {}
    Parameters* parameters() override { return &own; }

    void forward(const Matrix& x, Matrix& y, int examples) override {
        const float* factor = own.values[0];
        for (int example = 0; example < examples; ++example)
            for (int n = 0; n < inputs; ++n) y[example][n] = factor[n] * x[example][n];
    }

    void backward(const Matrix& x, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        const float* factor = own.values[0];
        float* of_factor = own.gradient[0];
        std::memset(of_factor, 0, own.gradient.bytes());
        for (int example = 0; example < examples; ++example)
            for (int n = 0; n < inputs; ++n) {
                of_factor[n] += dy[example][n] * x[example][n];
                if (dx) (*dx)[example][n] = factor[n] * dy[example][n];
            }
    }
};

// y = x times a mask that is given for each batch; without one y = x.
struct Dropout : Elementwise {
    Matrix mask;
    bool drops = false;

    Dropout(int width, int lanes, int most_examples)
        : Elementwise(width, lanes), mask((most_examples + lanes - 1) / lanes, width * lanes) {}

    // given: (width, batch_size).
    void drop(const float* given, int batch_size, int examples) {
        drops = true;
        for (int unit = 0; unit < inputs; ++unit, given += batch_size)
            for (int lane = 0; lane < lanes; ++lane) {
                float* to = mask[0] + unit * lanes + lane;
                for (int example = lane; example < examples; example += lanes, to += mask.stride) *to = given[example];
            }
    }

    void times_mask(const Matrix& from, Matrix& to, int examples) const {
        const float *values = from[0], *factors = mask[0];
        float* products = to[0];
        const int end = count(from, examples);
        for (int n = 0; n < end; ++n) products[n] = drops ? values[n] * factors[n] : values[n];
    }

    void forward(const Matrix& x, Matrix& y, int examples) override { times_mask(x, y, examples); }

    void backward(const Matrix&, const Matrix&, const Matrix& dy, Matrix* dx, int examples) override {
        if (dx) times_mask(dy, *dx, examples);
    }
};
