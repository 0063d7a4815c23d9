#include "base/memory_map.hpp"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>

#include "base/system_lines.hpp"

namespace kvcache {

MemoryMap::MemoryMap() {
  SystemLines maps("/proc/self/maps");
  for (std::string line; maps.next(line);) {
    // begin-end permissions offset device inode path
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::uint64_t offset = 0;
    std::uint64_t inode = 0;
    std::array<char, 32> device{};
    const int found =
        std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNx64 " %31s %" SCNu64, &begin,
                    &end, &offset, device.data(), &inode);
    if (found == 5 && inode != 0) {
      mappings_.push_back({begin,
                           end,
                           {std::string(device.data()) + " " + std::to_string(inode),
                            static_cast<std::size_t>(offset)}});
    }
  }
}

std::optional<FilePlace> MemoryMap::file_at(const void* address) const {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  const auto after =
      std::ranges::upper_bound(mappings_, wanted, std::ranges::less(), &Mapping::begin);
  if (after == mappings_.begin() || wanted >= std::prev(after)->end) {
    return std::nullopt;
  }
  const Mapping& mapping = *std::prev(after);
  return FilePlace{mapping.place.file, mapping.place.offset + (wanted - mapping.begin)};
}

std::optional<FilePlace> file_at(const void* address) { return MemoryMap().file_at(address); }

}  // namespace kvcache
