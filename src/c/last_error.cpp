#include "c/last_error.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace kvcache::c {
namespace {

/// With the zero byte behind it.
thread_local std::array<char, 4096> last_message{};

/// Whether a byte of UTF-8 goes on with a character.
bool continues(char byte) noexcept { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

}  // namespace

kvcache_status set_last_error(kvcache_status status,
                              std::initializer_list<std::string_view> pieces) noexcept {
  std::size_t size = 0;
  for (std::string_view piece : pieces) {
    const std::size_t room = last_message.size() - 1 - size;
    if (piece.size() > room) {
      std::size_t end = room;
      while (end > 0 && continues(piece[end])) {
        --end;
      }
      std::copy_n(piece.data(), end, last_message.data() + size);
      size += end;
      break;
    }
    std::copy_n(piece.data(), piece.size(), last_message.data() + size);
    size += piece.size();
  }
  last_message[size] = '\0';
  return status;
}

}  // namespace kvcache::c

const char* kvcache_last_error_message(void) noexcept { return kvcache::c::last_message.data(); }
