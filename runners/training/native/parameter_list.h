// All that an optimizer changes, in the order of the buffers that calls bring and take.
#pragma once

#include <cmath>
#include <vector>

#include "layers.h"
#include "optimizers.h"

struct ParameterList {
    std::vector<Parameters*> all;

    // How many parameters there are, without the places that fill up rows.
    std::int64_t size() const {
        std::int64_t total = 0;
        for (const Parameters* each : all) total += std::int64_t(each->values.rows) * each->values.columns;
        return total;
    }

    // Copies buffers of size() to the parameters, and the parameters to them.
    void read(const float* buffer, Matrix Parameters::*matrix) const {
        for (Parameters* each : all) {
            Matrix& part = each->*matrix;
            for (int row = 0; row < part.rows; ++row, buffer += part.columns)
                std::memcpy(part[row], buffer, part.columns * sizeof(float));
        }
    }
    void write(float* buffer, Matrix Parameters::*matrix) const {
        for (const Parameters* each : all) {
            const Matrix& part = each->*matrix;
            for (int row = 0; row < part.rows; ++row, buffer += part.columns)
                std::memcpy(buffer, part[row], part.columns * sizeof(float));
        }
    }

    // One step by the gradients, which are made no longer than `longest` unless that is 0.
    void step(OptimizerKind optimizer, const float* of_optimizer, float longest, const float* coefficients, std::int64_t steps) const {
        float square = 0.0f;
        for (const Parameters* each : all) square += square_of_norm(*each);
        const float norm = std::sqrt(square);
        const bool is_adamw = optimizer == OptimizerKind::ADAMW;
        for (Parameters* each : all) {
            if (longest > 0.0f && norm > longest) scale_gradient(*each, longest / norm);
            if (is_adamw || optimizer == OptimizerKind::ADAM)
                step_adam(*each, of_optimizer[0], of_optimizer[1], is_adamw, coefficients[0], coefficients[steps], coefficients[2 * steps]);
            else
                step_sgd(*each, of_optimizer[0], optimizer == OptimizerKind::NESTEROV, coefficients[0], coefficients[steps]);
        }
    }
};
