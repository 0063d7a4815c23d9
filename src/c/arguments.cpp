#include "c/arguments.hpp"

#include "kvcache.h"

namespace kvcache::c {

void throw_null(const char* function, const char* name) {
  throw_error(ErrorCode::invalid_argument,
              "{}: {} is NULL, must point to what kvcache.h says of it; was an earlier call's "
              "failure overlooked?",
              function, name);
}

void throw_count(const char* function, const char* name, std::size_t count) {
  throw_error(ErrorCode::invalid_argument,
              "{}: {} elements of {} were given, which no memory can hold; give as many as the "
              "pointer before the number has",
              function, count, name);
}

bool Call::truth(std::int32_t value, const char* name) const {
  if (value != 0 && value != 1) {
    throw_error(ErrorCode::invalid_argument,
                "{}: {} is {}, must be 0 or 1; fill the structure with its ..._init() first",
                function_, name, value);
  }
  return value == 1;
}

LogitsFor Call::logits_for(std::int32_t value) const {
  switch (value) {
    case KVCACHE_LOGITS_FOR_LAST:
      return LogitsFor::last;
    case KVCACHE_LOGITS_FOR_ALL:
      return LogitsFor::all;
    default:
      throw_error(ErrorCode::invalid_argument,
                  "{}: logits_for is {}, must be KVCACHE_LOGITS_FOR_LAST (0) or "
                  "KVCACHE_LOGITS_FOR_ALL (1)",
                  function_, value);
  }
}

}  // namespace kvcache::c
