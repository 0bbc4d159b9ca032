// Exponential and logarithm without branches, so that loops over them become vector code, the same on every run.
// They are right to 2 units in the last place; NaN gives NaN.
#pragma once

#include <cstdint>
#include <cstring>

template <typename To, typename From>
inline To bits_of(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

// e^x; x beyond -87 and 88 counts as these. e^x = 2^n e^r with |r| <= log(2) / 2; the polynomial is that of Cephes.
inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    // In a sum with 1.5 * 2^23 the last bits of the mantissa are the nearest whole number.
    const float shifted = x * 1.44269504f + 12582912.0f;
    const float n = shifted - 12582912.0f;
    // log(2) in two parts, the first of which has few digits, so that n times it is exact.
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float polynomial = 1.9875691500e-4f;
    polynomial = polynomial * r + 1.3981999507e-3f;
    polynomial = polynomial * r + 8.3334519073e-3f;
    polynomial = polynomial * r + 4.1665795894e-2f;
    polynomial = polynomial * r + 1.6666665459e-1f;
    polynomial = polynomial * r + 5.0000001201e-1f;
    const float of_rest = polynomial * r * r + r + 1.0f;
    return of_rest * bits_of<float>((bits_of<std::uint32_t>(shifted) + 127u) << 23);
}

// log x of a positive normal number: x = 2^n m with m in [sqrt(1/2), sqrt(2)); the polynomial is that of Cephes.
inline float logarithm(float x) {
    const std::uint32_t sqrt_half = 0x3F3504F3u, bits = bits_of<std::uint32_t>(x);
    const std::int32_t n = std::int32_t(bits - sqrt_half) >> 23;
    const float r = bits_of<float>(bits - (std::uint32_t(n) << 23)) - 1.0f;
    float polynomial = 7.0376836292e-2f;
    polynomial = polynomial * r - 1.1514610310e-1f;
    polynomial = polynomial * r + 1.1676998740e-1f;
    polynomial = polynomial * r - 1.2420140846e-1f;
    polynomial = polynomial * r + 1.4249322787e-1f;
    polynomial = polynomial * r - 1.6668057665e-1f;
    polynomial = polynomial * r + 2.0000714765e-1f;
    polynomial = polynomial * r - 2.4999993993e-1f;
    polynomial = polynomial * r + 3.3333331174e-1f;
    const float of_mantissa = (polynomial * r * r * r - n * 2.12194440e-4f) - 0.5f * r * r + r;
    const float log = of_mantissa + n * 0.693359375f;
    return x == x ? log : x;
}

// log(1 + x) for x >= 0 that keeps the digits of small x.
inline float logarithm_of_one_plus(float x) {
    const float sum = 1.0f + x;
    return logarithm(sum) + (x - (sum - 1.0f)) / sum;
}
