#include "ops/memory_map.hpp"

#include <array>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>

namespace kvcache::ops {

std::optional<FilePlace> file_at(const void* address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    // begin-end permissions offset device inode path
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::uint64_t offset = 0;
    std::uint64_t inode = 0;
    std::array<char, 32> device{};
    const int found =
        std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNx64 " %31s %" SCNu64, &begin,
                    &end, &offset, device.data(), &inode);
    if (found == 5 && begin <= wanted && wanted < end) {
      if (inode == 0) {
        return std::nullopt;
      }
      return FilePlace{std::string(device.data()) + " " + std::to_string(inode),
                       static_cast<std::size_t>(offset) + (wanted - begin)};
    }
  }
  return std::nullopt;
}

}  // namespace kvcache::ops
