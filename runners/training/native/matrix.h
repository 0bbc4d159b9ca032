// Matrices whose rows are vectors of the machine, and their product.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif
typedef float Vector __attribute__((vector_size(WIDTH * sizeof(float))));

// float32 in rows. Each row begins at a vector; up to the next one lie zeros, whose products are zeros again (or NaN,
// in a model that has diverged) and never reach the columns.
struct Matrix {
    static constexpr std::align_val_t ALIGNMENT{64};
    struct Free {
        void operator()(float* values) const { ::operator delete(values, ALIGNMENT); }
    };

    int rows, columns, stride;
    std::unique_ptr<float, Free> values;

    Matrix(int rows, int columns)
        : rows(rows), columns(columns), stride(checked_stride(rows, columns)),
          values(static_cast<float*>(::operator new(bytes(), ALIGNMENT))) {
        std::memset(values.get(), 0, bytes());
    }

    std::size_t bytes() const { return sizeof(float) * rows * stride; }
    float* operator[](int row) { return values.get() + std::ptrdiff_t(row) * stride; }
    const float* operator[](int row) const { return values.get() + std::ptrdiff_t(row) * stride; }

  private:
    // Loops over all values count in int.
    static int checked_stride(std::int64_t rows, std::int64_t columns) {
        const std::int64_t stride = (columns + WIDTH - 1) / WIDTH * WIDTH;
        if (rows * stride > std::numeric_limits<int>::max())
            throw std::invalid_argument("a matrix of " + std::to_string(rows) + " x " + std::to_string(columns));
        return int(stride);
    }
};

// The left side of a product: a matrix as it is, or transposed without being moved.
struct Left {
    const float* values;
    std::ptrdiff_t row, column;

    explicit Left(const Matrix& matrix) : values(matrix[0]), row(matrix.stride), column(1) {}
    Left(const float* values, std::ptrdiff_t row, std::ptrdiff_t column) : values(values), row(row), column(column) {}
    Left transposed() const { return {values, column, row}; }
    Left from(int first_row, int first_column) const {
        return {values + first_row * row + first_column * column, row, column};
    }
};

inline Vector load(const float* values) { return *reinterpret_cast<const Vector*>(values); }
inline void store(float* values, Vector vector) { *reinterpret_cast<Vector*>(values) = vector; }

// As many rows of the right side are taken at once: of VECTORS columns they fit into the first cache.
constexpr int PANEL_ROWS = 256;

// ROWS x VECTORS of out += left panel, from `start` in the place of out unless it is null; the sums stay in registers.
template <int ROWS, int VECTORS>
inline void multiply_block(float* out, std::ptrdiff_t stride, Left left, const Vector (*panel)[VECTORS], int inner, const float* start) {
    Vector sums[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) sums[r][v] = load((start ? start : out + r * stride) + v * WIDTH);
    const float* factors = left.values;
    for (int k = 0; k < inner; ++k, factors += left.column)
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; ++v) sums[r][v] += factors[r * left.row] * panel[k][v];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) store(out + r * stride + v * WIDTH, sums[r][v]);
}

// VECTORS columns of a product, from one column on.
template <int VECTORS>
inline void multiply_columns(Matrix& out, int rows, int column, Left left, int inner, const Matrix& right, const float* start) {
    // Eight sums side by side: each waits for its own last one only.
    constexpr int ROWS = 8 / VECTORS;
    Vector panel[PANEL_ROWS][VECTORS];
    for (int first = 0; first < inner; first += PANEL_ROWS) {
        const int taken = inner - first < PANEL_ROWS ? inner - first : PANEL_ROWS;
        for (int k = 0; k < taken; ++k)
            for (int v = 0; v < VECTORS; ++v) panel[k][v] = load(right[first + k] + column + v * WIDTH);
        const float* from = first ? nullptr : start + column;
        int row = 0;
        auto block = [&](auto multiply_rows) {
            multiply_rows(out[row] + column, out.stride, left.from(row, first), panel, taken, from);
        };
        for (; row + ROWS <= rows; row += ROWS) block(multiply_block<ROWS, VECTORS>);
        for (; row + 2 <= rows; row += 2) block(multiply_block<2, VECTORS>);
        for (; row < rows; ++row) block(multiply_block<1, VECTORS>);
    }
}

// The first `rows` rows of out = start + left right.
//
// left: (rows, inner); right: (inner, columns of out); start: what each row begins with.
inline void multiply(Matrix& out, int rows, Left left, int inner, const Matrix& right, const float* start) {
    int column = 0;
    for (; column + 2 * WIDTH <= out.stride; column += 2 * WIDTH)
        multiply_columns<2>(out, rows, column, left, inner, right, start);
    if (column < out.stride) multiply_columns<1>(out, rows, column, left, inner, right, start);
}

// The sums of each column of the first `rows` rows.
inline void sum_rows(float* out, const Matrix& matrix, int rows) {
    for (int column = 0; column < matrix.stride; column += WIDTH) {
        Vector sum{};
        for (int row = 0; row < rows; ++row) sum += load(matrix[row] + column);
        store(out + column, sum);
    }
}

// The first `rows` rows of a matrix as the columns of out, few rows at a time so that they stay in the cache.
inline void transpose(Matrix& out, const Matrix& matrix, int rows) {
    constexpr int AT_ONCE = 8;
    for (int first = 0; first < rows; first += AT_ONCE) {
        const int end = rows - first < AT_ONCE ? rows : first + AT_ONCE;
        for (int column = 0; column < matrix.columns; ++column)
            for (int row = first; row < end; ++row) out[column][row] = matrix[row][column];
    }
}
