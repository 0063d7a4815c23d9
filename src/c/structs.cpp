#include "c/structs.hpp"

namespace kvcache::c {
namespace {

constexpr std::size_t kLongest = 4096;  // a structure of any version is far shorter

}  // namespace

std::size_t checked_size(const Call& call, const char* name, std::size_t size) {
  // Every structure is as long as its fields together and ends where a size_t would, so a field is
  // never there in part.
  if (size < sizeof(std::size_t) || size > kLongest || size % sizeof(std::size_t) != 0) {
    throw_error(
        ErrorCode::invalid_argument,
        "{}: struct_size of {} is {}, must be what sizeof says of the structure, a multiple "
        "of {} up to {}; set it before the call",
        call.function(), name, size, sizeof(std::size_t), kLongest);
  }
  return size;
}

void check_unknown(const Call& call, const char* name, const void* given, std::size_t known,
                   std::size_t size) {
  const auto* const bytes = static_cast<const unsigned char*>(given);
  for (std::size_t i = known; i < size; ++i) {
    if (bytes[i] != 0) {
      throw_error(ErrorCode::invalid_argument,
                  "{}: {} asks in byte {} for what this version of the library, which knows {} "
                  "bytes of it, does not have; leave it zero, or use the library that the header "
                  "came with",
                  call.function(), name, i, known);
    }
  }
}

}  // namespace kvcache::c
