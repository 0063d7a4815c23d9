#include "c/boundary.hpp"

#include <exception>
#include <new>
#include <stdexcept>
#include <string_view>

#include "c/last_error.hpp"
#include "c/status.hpp"

namespace kvcache::c {
namespace {

kvcache_status report_no_memory(const char* function) noexcept {
  return set_last_error(KVCACHE_ERROR_OUT_OF_MEMORY,
                        {function,
                         ": the system refused memory; free some, ask for less, or raise the "
                         "process's limit (ulimit -v)"});
}

}  // namespace

kvcache_status report_exception(const char* function) noexcept {
  // None of this allocates: there may be no memory left to say so with.
  try {
    throw;
  } catch (const Error& error) {  // as in every language
    return set_last_error(to_status(error.code()), {error.what()});
  } catch (const std::bad_alloc&) {
    return report_no_memory(function);
  } catch (const std::length_error&) {  // more than a container can ever hold
    return report_no_memory(function);
  } catch (const std::exception& error) {
    return set_last_error(KVCACHE_ERROR_RUN_FAILED,
                          {function, ": ", error.what(), "; please report it"});
  } catch (...) {
    return set_last_error(
        KVCACHE_ERROR_RUN_FAILED,
        {function, ": something was thrown that is no std::exception; please report it"});
  }
}

}  // namespace kvcache::c
