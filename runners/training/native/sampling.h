// Examples drawn by chance, the same in any engine: random numbers are a function of a seed and a place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

// Number `place` of a seed. The mixing of 32 bits is lowbias32, github.com/skeeto/hash-prospector.
inline std::uint32_t random_key(std::uint32_t seed, std::uint32_t place) {
    std::uint32_t x = seed + place * 0x9E3779B9u;
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}

// Draws positives up to a number of them, and negatives up to the total: those with the smallest keys.
struct Sampler {
    using Keyed = std::pair<std::uint32_t, int>;
    std::vector<Keyed> positives, negatives;

    void clear() {
        positives.clear();
        negatives.clear();
    }

    // Leaves those that are drawn.
    void draw(std::size_t most_positives, std::size_t total) {
        keep(positives, most_positives);
        keep(negatives, total - positives.size());
    }

  private:
    static void keep(std::vector<Keyed>& of, std::size_t most) {
        if (of.size() <= most) return;
        std::nth_element(of.begin(), of.begin() + most, of.end());
        of.resize(most);
        // So that no sum depends on how the library has found them.
        std::sort(of.begin(), of.end());
    }
};
