// Structures of other versions of kvcache.h: shorter ones lack fields, longer ones have more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "c/arguments.hpp"

namespace kvcache::c {

/// The struct_size of a caller's structure, after checking that it can be one.
std::size_t checked_size(const Call& call, const char* name, std::size_t size);

/// Refuses what a caller's longer structure has behind `known` bytes, unless it is zero.
void check_unknown(const Call& call, const char* name, const void* given, std::size_t known,
                   std::size_t size);

/// A caller's structure as this version has it: what it lacks is as `defaults`.
template <typename Struct>
Struct read_struct(const Call& call, const Struct* given, const char* name, Struct defaults) {
  static_assert(std::is_trivially_copyable_v<Struct> && offsetof(Struct, struct_size) == 0);
  // By bytes: a shorter one is no whole object.
  std::size_t given_size = 0;
  std::memcpy(&given_size, &call.needed(given, name), sizeof given_size);
  const std::size_t size = checked_size(call, name, given_size);
  check_unknown(call, name, given, sizeof(Struct), size);
  std::memcpy(&defaults, given, std::min(size, sizeof(Struct)));
  defaults.struct_size = sizeof(Struct);
  return defaults;
}

/// Fills a caller's structure, of `size` bytes, with as much of `values` as it has room for.
template <typename Struct>
void write_struct(Struct* to, std::size_t size, Struct values) {
  static_assert(std::is_trivially_copyable_v<Struct> && offsetof(Struct, struct_size) == 0);
  values.struct_size = size;
  std::memcpy(to, &values, std::min(size, sizeof(Struct)));
  if (size > sizeof(Struct)) {
    std::memset(reinterpret_cast<std::byte*>(to) + sizeof(Struct), 0, size - sizeof(Struct));
  }
}

/// The same for one whose caller says its size beside it.
template <typename Struct>
void init_struct(const Call& call, Struct* to, const char* name, std::size_t size,
                 const Struct& values) {
  call.needed(to, name);
  write_struct(to, checked_size(call, name, size), values);
}

/// The same for one whose caller has set struct_size.
template <typename Struct>
void answer_struct(const Call& call, Struct* to, const char* name, const Struct& values) {
  std::size_t size = 0;
  std::memcpy(&size, &call.needed(to, name), sizeof size);
  write_struct(to, checked_size(call, name, size), values);
}

}  // namespace kvcache::c
