#include "ort/error_boundary.hpp"

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <exception>
#include <new>
#include <span>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "base/throw_error.hpp"

namespace kvcache {
namespace {

/// ONNX Runtime has no code for it: what its allocators, std::bad_alloc and the system's ENOMEM
/// leave in its message.
constexpr std::array<std::string_view, 5> kNoMemory{"bad_alloc", "bad allocation",
                                                    "Cannot allocate memory",
                                                    "Failed to allocate memory", "out of memory"};

/// Nor for these of the system's: EMFILE, EAGAIN.
constexpr std::array<std::string_view, 2> kRefused{"Too many open files",
                                                   "Resource temporarily unavailable"};

bool says_one_of(const Ort::Exception& error, std::span<const std::string_view> parts) {
  const std::string_view message = error.what();
  return std::ranges::any_of(
      parts, [&](std::string_view part) { return message.find(part) != std::string_view::npos; });
}

[[noreturn]] void throw_out_of_memory(const Meaning& meaning, std::string_view reason) {
  throw_error(ErrorCode::out_of_memory,
              "{}: the system refused memory ({}); free memory, or raise the process's limit",
              meaning.what, reason);
}

[[noreturn]] void throw_refused(const Meaning& meaning, std::string_view reason) {
  throw_error(ErrorCode::system_refused,
              "{}: the system refused a thread, a file descriptor or the like ({}); raise the "
              "process's limits, see ulimit -a",
              meaning.what, reason);
}

[[noreturn]] void throw_system_error(const Meaning& meaning, const std::system_error& error) {
  const std::error_code& code = error.code();
  if (code == std::errc::not_enough_memory) {
    throw_out_of_memory(meaning, error.what());
  }
  if (code == std::errc::resource_unavailable_try_again || code == std::errc::too_many_files_open ||
      code == std::errc::too_many_files_open_in_system) {
    throw_refused(meaning, error.what());
  }
  throw_error(meaning.file, "{}: {}", meaning.what, error.what());
}

}  // namespace

void rethrow_as_error(const Meaning& meaning) {
  try {
    throw;
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc& error) {
    throw_out_of_memory(meaning, error.what());
  } catch (const std::length_error& error) {  // more than a container can ever hold
    throw_out_of_memory(meaning, error.what());
  } catch (const std::system_error& error) {  // std::filesystem's too
    throw_system_error(meaning, error);
  } catch (const Ort::Exception& error) {
    if (says_one_of(error, kNoMemory)) {
      throw_out_of_memory(meaning, error.what());
    }
    if (says_one_of(error, kRefused)) {
      throw_refused(meaning, error.what());
    }
    throw_error(meaning.otherwise, "{}: ONNX Runtime {}: {}", meaning.what, Ort::GetVersionString(),
                error.what());
  } catch (const std::exception& error) {
    throw_error(meaning.otherwise, "{}: {}", meaning.what, error.what());
  }
}

}  // namespace kvcache
