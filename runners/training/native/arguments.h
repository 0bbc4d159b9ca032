// The arguments of a custom operator of MindSpore, checked: a wrong shape is an error and no crash.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

constexpr std::int64_t ANY = -1;

// A limit of sizes, so that no vector of them leaves an int.
constexpr int LARGEST = 1 << 20;

class Arguments {
  public:
    Arguments(int count, void** values, int* ranks, std::int64_t** shapes, const char** types)
        : count_(count), values_(values), ranks_(ranks), shapes_(shapes), types_(types) {}

    void require_count(int count) const {
        if (count_ != count) fail(std::to_string(count_) + " arguments; expected " + std::to_string(count));
    }

    void require_columns(int index, std::int64_t columns) const {
        if (ranks_[index] != 2 || shapes_[index][1] != columns)
            fail("argument " + std::to_string(index) + " has shape " + shown(index) + "; expected " + shown({ANY, columns}));
    }

    std::int64_t size(int index, int axis) const { return shapes_[index][axis]; }

    // The values of an argument of this shape, ANY being any number of at least 1.
    float* floats(int index, const std::vector<std::int64_t>& shape) const {
        return static_cast<float*>(checked(index, shape, "float32"));
    }
    const std::int32_t* integers(int index, const std::vector<std::int64_t>& shape) const {
        return static_cast<const std::int32_t*>(checked(index, shape, "int32"));
    }

    std::uint8_t* bytes(int index, const std::vector<std::int64_t>& shape) const {
        return static_cast<std::uint8_t*>(checked(index, shape, "uint8"));
    }
    bool is_of(int index, const std::string& type) const { return type == types_[index]; }

    [[noreturn]] static void fail(const std::string& what) { throw std::invalid_argument(what); }

  private:
    int count_;
    void** values_;
    int* ranks_;
    std::int64_t** shapes_;
    const char** types_;

    void* checked(int index, const std::vector<std::int64_t>& shape, const std::string& type) const {
        const std::string name = "argument " + std::to_string(index);
        if (type != types_[index]) fail(name + " is of " + types_[index] + "; expected " + type);
        bool fits = ranks_[index] == int(shape.size());
        for (std::size_t axis = 0; fits && axis < shape.size(); ++axis) {
            const std::int64_t has = shapes_[index][axis];
            fits = shape[axis] == ANY ? has >= 1 : has == shape[axis];
        }
        if (!fits) fail(name + " has shape " + shown(index) + "; expected " + shown(shape));
        return values_[index];
    }

    std::string shown(int index) const { return shown({shapes_[index], shapes_[index] + ranks_[index]}); }

    static std::string shown(const std::vector<std::int64_t>& shape) {
        std::string text;
        for (std::int64_t each : shape) text += (text.empty() ? "" : ", ") + (each == ANY ? "any" : std::to_string(each));
        return "(" + text + ")";
    }
};
