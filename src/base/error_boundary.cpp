#include "base/error_boundary.hpp"

#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>

#include "base/throw_error.hpp"

namespace kvcache {
namespace {

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

void throw_out_of_memory(const Meaning& meaning, std::string_view reason) {
  throw_error(ErrorCode::out_of_memory,
              "{}: the system refused memory ({}); free memory, or raise the process's limit",
              meaning.what, reason);
}

void throw_refused(const Meaning& meaning, std::string_view reason) {
  throw_error(ErrorCode::system_refused,
              "{}: the system refused a thread or memory for its stack, a file descriptor or the "
              "like ({}); raise the process's limits, see ulimit -a",
              meaning.what, reason);
}

void rethrow_system_as_error(const Meaning& meaning) {
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
  } catch (const std::exception& error) {
    throw_error(meaning.otherwise, "{}: {}", meaning.what, error.what());
  }
}

}  // namespace kvcache
