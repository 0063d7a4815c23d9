// What a shared library shows of itself.
#pragma once

/// Marks a class or function as part of the public interface: a shared build hides all others.
/// kvcache.h has the same definition.
#if defined(__GNUC__) && !defined(_WIN32)
#define KVCACHE_EXPORT __attribute__((visibility("default")))
#else
#define KVCACHE_EXPORT
#endif
