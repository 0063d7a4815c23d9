// What every fuzzer demands: bytes are taken or refused with an Error that says why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "kvcache/error.hpp"

namespace kvcache::test {

/// The bytes that libFuzzer gives, as text.
inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Ends the program, which libFuzzer reports with the input, unless what must hold does.
inline void expect(bool holds) {
  if (!holds) {
    std::abort();
  }
}

/// Runs `call`; whatever it throws but an Error with a message of one kind is left to end the
/// program, which libFuzzer reports with the input.
template <typename Call>
void expect_only_errors(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    expect(std::strlen(error.what()) >= 10 && !error_code_name(error.code()).empty());
  }
}

}  // namespace kvcache::test
