// NumPy's file format, as far as it takes to write a matrix.
#pragma once

#include <cstddef>
#include <string>

namespace kvcache::cli {

/// What comes before the values in a .npy file (format version 1.0) of a float32 matrix
/// [rows, columns] in C order.
std::string npy_header(std::size_t rows, std::size_t columns);

}  // namespace kvcache::cli
