#include "kernels/cpu/amx.hpp"

#include <atomic>

#if HWY_ARCH_X86_64 && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace kvcache::kernels {
namespace {

std::atomic<bool> allowed_by_tests = true;

#if HWY_ARCH_X86_64 && defined(__linux__)

bool processor_has_tiles() {
  constexpr unsigned kBFloat16 = 1U << 22;
  constexpr unsigned kTiles = 1U << 24;
  constexpr unsigned kInt8 = 1U << 25;
  constexpr unsigned kAll = kBFloat16 | kTiles | kInt8;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAll) == kAll;
}

/// Linux keeps the tiles' 8 KiB only for processes that asked: Documentation/arch/x86/xstate.rst.
bool system_permits_tiles() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool ask() { return processor_has_tiles() && system_permits_tiles(); }

#else

bool ask() { return false; }

#endif

}  // namespace

bool has_amx() {
  static const bool has = ask();
  return has && allowed_by_tests;
}

void allow_amx(bool allowed) { allowed_by_tests = allowed; }

}  // namespace kvcache::kernels
