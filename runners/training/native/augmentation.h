// Images through affine maps of their own, as augmentation wants them.
#pragma once

#include <cstdint>
#include <vector>

#include "arguments.h"

// Where the pixels of a row come from along one axis of the source: the pixel before each place, and how far behind that
// the place is. Beyond the image it is the pixel at the edge. Doubles, since the places of a large image have many digits.
struct Places {
    std::vector<std::int32_t> pixel;
    std::vector<float> behind;

    explicit Places(int count) : pixel(count), behind(count) {}

    void set(int count, double first, double step, int last) {
        const double end = last;
        std::int32_t* __restrict pixels = pixel.data();
        float* __restrict parts = behind.data();
        for (std::int32_t n = 0; n < count; ++n) {
            double place = first + step * n;
            // In this order NaN is 0 too.
            place = place > 0.0 ? place : 0.0;
            place = place < end ? place : end;
            pixels[n] = std::int32_t(place);
            parts[n] = float(place - double(pixels[n]));
        }
    }
};

// A row of an image, each of its pixels between four of the source.
inline void interpolate(const float* __restrict source, int height, int width, const Places& rows, const Places& columns,
                        float brightness, float* __restrict out) {
    const std::int32_t *row = rows.pixel.data(), *column = columns.pixel.data();
    const float *down = rows.behind.data(), *along = columns.behind.data();
    for (int x = 0; x < width; ++x) {
        const int here = row[x] * width + column[x], under = here + (row[x] + 1 < height ? width : 0);
        const int next = column[x] + 1 < width ? 1 : 0;
        const float upper = source[here] + along[x] * (source[here + next] - source[here]);
        const float lower = source[under] + along[x] * (source[under + next] - source[under]);
        out[x] = upper + down[x] * (lower - upper) + brightness;
    }
}

inline void augment(const Arguments& given) {
    enum { IMAGES, MAPS, SQUARES, BRIGHTNESS, AUGMENTED, COUNT };
    given.require_count(COUNT);
    const auto* image = given.floats(IMAGES, {ANY, ANY, ANY, ANY});
    const std::int64_t count = given.size(IMAGES, 0), channels = given.size(IMAGES, 1);
    constexpr std::int64_t most = 1 << 15;
    if (given.size(IMAGES, 2) > most || given.size(IMAGES, 3) > most)
        Arguments::fail("an image with a side of more than " + std::to_string(most));
    const int height = int(given.size(IMAGES, 2)), width = int(given.size(IMAGES, 3)), size = height * width;
    const auto* map = given.floats(MAPS, {count, 6});
    const auto* square = given.integers(SQUARES, {count, 4});
    const auto* brightness = given.floats(BRIGHTNESS, {count});
    auto* augmented = given.floats(AUGMENTED, {count, channels, height, width});
    const double middle_row = (height - 1) / 2.0, middle_column = (width - 1) / 2.0;
    Places rows(width), columns(width);

    for (std::int64_t n = 0; n < count; ++n, map += 6, square += 4, image += channels * size, augmented += channels * size) {
        for (int y = 0; y < height; ++y) {
            rows.set(width, map[0] * (y - middle_row) - map[1] * middle_column + map[2] + middle_row, map[1], height - 1);
            columns.set(width, map[3] * (y - middle_row) - map[4] * middle_column + map[5] + middle_column, map[4], width - 1);
            for (std::int64_t c = 0; c < channels; ++c)
                interpolate(image + c * size, height, width, rows, columns, brightness[n],
                            augmented + c * size + y * width);
        }
        const int top = square[0], left = square[1], bottom = square[2], right = square[3];
        if (top < 0 || left < 0 || bottom > height || right > width) Arguments::fail("a square beyond its image");
        for (std::int64_t c = 0; c < channels; ++c)
            for (int y = top; y < bottom; ++y)
                for (int x = left; x < right; ++x) augmented[c * size + y * width + x] = 0.0f;
    }
}
