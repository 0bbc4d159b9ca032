// The way from a call by its name into C++ and back: no exception leaves the library.
#pragma once

#include <exception>
#include <string>

#include "arguments.h"

namespace {

thread_local std::string reason;

// 0, or 1 where the arguments are wrong, which `last_reason` then explains.
template <typename Function>
int guarded(Function function, int count, void** values, int* ranks, std::int64_t** shapes, const char** types) {
    try {
        function(Arguments(count, values, ranks, shapes, types));
        return 0;
    } catch (const std::exception& error) {
        reason = error.what();
        return 1;
    }
}

}  // namespace

// Why the last call of this thread returned 1. A library is compiled from one file.
extern "C" const char* last_reason() { return reason.c_str(); }
