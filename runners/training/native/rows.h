// The examples of a call: rows of float32, or of bytes that become float32 where they are wanted.
#pragma once

#include <cstdint>
#include <vector>

#include "arguments.h"

class Rows {
  public:
    const std::int64_t count, columns;

    // features (rows, F) float32; or uint8, whose standardisation has the mean and the factor of each column, (2, F).
    Rows(const Arguments& given, int features, int standardisation)
        : count(given.size(features, 0)), columns(given.size(features, 1)) {
        if (given.is_of(features, "uint8")) {
            bytes_ = given.bytes(features, {ANY, ANY});
            mean_ = given.floats(standardisation, {2, columns});
            made_.resize(columns);
        } else {
            floats_ = given.floats(features, {ANY, ANY});
        }
    }

    // A row, which lasts until the next one is asked for.
    const float* operator[](std::int64_t row) {
        if (floats_) return floats_ + row * columns;
        const std::uint8_t* own = bytes_ + row * columns;
        const float* factor = mean_ + columns;
        for (std::int64_t n = 0; n < columns; ++n) made_[n] = (float(own[n]) - mean_[n]) * factor[n];
        return made_.data();
    }

  private:
    const float *floats_ = nullptr, *mean_ = nullptr;
    const std::uint8_t* bytes_ = nullptr;
    std::vector<float> made_;
};
