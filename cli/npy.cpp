#include "npy.hpp"

#include <fmt/format.h>

#include <bit>
#include <string>

namespace kvcache::cli {
namespace {

/// What comes before the values.
std::string npy_header(std::size_t rows, std::size_t columns) {
  constexpr std::size_t kPreamble = 10;  // magic, version, length of the description
  constexpr std::size_t kAlignment = 64;
  constexpr char kByteOrder = std::endian::native == std::endian::little ? '<' : '>';
  std::string description =
      fmt::format("{{'descr': '{}f4', 'fortran_order': False, 'shape': ({}, {}), }}", kByteOrder,
                  rows, columns);
  const std::size_t unpadded = kPreamble + description.size() + 1;
  description.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  description += '\n';

  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(description.size() % 256);  // little-endian in any case
  header += static_cast<char>(description.size() / 256);
  return header + description;
}

}  // namespace

void write_npy(const Logits& logits, AtomicFile& file) {
  file.write(npy_header(logits.rows(), logits.vocab_size()));
  for (std::size_t row = 0; row < logits.rows(); ++row) {
    file.write(std::as_bytes(logits.row(row)));
  }
  file.commit();
}

}  // namespace kvcache::cli
