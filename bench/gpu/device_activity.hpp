// What the GPU did, by CUPTI's count: kernels, copies, allocations.
#pragma once

#include <cupti.h>

#include <cstdint>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace kvcache::bench {

inline void check_cupti(CUptiResult result, const char* doing) {
  if (result != CUPTI_SUCCESS) {
    const char* text = "unknown error";
    cuptiGetResultString(result, &text);
    throw std::runtime_error(std::string("CUPTI failed while ") + doing + ": " + text);
  }
}

/// Counts from its construction to finish(). One at a time. Counting slows the program down: no
/// times are taken meanwhile, but for the kernels' own.
class DeviceActivity {
 public:
  struct Copies {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
  };
  struct Kernel {
    std::uint64_t count = 0;
    double microseconds = 0;
  };

  DeviceActivity() {
    current() = this;
    check_cupti(cuptiActivityRegisterCallbacks(&give_buffer, &take_buffer), "registering");
    for (const CUpti_ActivityKind kind : kKinds) {
      check_cupti(cuptiActivityEnable(kind), "starting to count");
    }
  }
  DeviceActivity(const DeviceActivity&) = delete;
  DeviceActivity& operator=(const DeviceActivity&) = delete;
  ~DeviceActivity() { current() = nullptr; }

  void finish() {
    check_cupti(cuptiActivityFlushAll(1), "collecting what was counted");
    for (const CUpti_ActivityKind kind : kKinds) {
      check_cupti(cuptiActivityDisable(kind), "ending to count");
    }
  }

  Copies host_to_device, device_to_host, device_to_device;
  std::uint64_t kernels = 0;
  std::uint64_t allocations = 0;
  std::map<std::string, Kernel> by_kernel;

 private:
  static constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                                  CUPTI_ACTIVITY_KIND_MEMCPY,
                                                  CUPTI_ACTIVITY_KIND_MEMORY2};
  static constexpr std::size_t kBufferBytes = std::size_t{8} << 20;

  static DeviceActivity*& current() {
    static DeviceActivity* activity = nullptr;
    return activity;
  }

  static void CUPTIAPI give_buffer(std::uint8_t** buffer, std::size_t* size, std::size_t* records) {
    *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(8, kBufferBytes));
    *size = kBufferBytes;
    *records = 0;
  }

  static void CUPTIAPI take_buffer(CUcontext /*context*/, std::uint32_t /*stream*/,
                                   std::uint8_t* buffer, std::size_t /*size*/, std::size_t valid) {
    CUpti_Activity* record = nullptr;
    while (current() != nullptr &&
           cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
      current()->take(*record);
    }
    std::free(buffer);
  }

  void take(const CUpti_Activity& record) {
    switch (record.kind) {
      case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
        const auto& kernel = reinterpret_cast<const CUpti_ActivityKernel9&>(record);
        ++kernels;
        Kernel& known = by_kernel[kernel.name];
        ++known.count;
        known.microseconds += static_cast<double>(kernel.end - kernel.start) / 1e3;
        break;
      }
      case CUPTI_ACTIVITY_KIND_MEMCPY: {
        const auto& copy = reinterpret_cast<const CUpti_ActivityMemcpy5&>(record);
        Copies& copies = copy.copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_HTOD   ? host_to_device
                         : copy.copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_DTOH ? device_to_host
                                                                            : device_to_device;
        ++copies.count;
        copies.bytes += copy.bytes;
        break;
      }
      case CUPTI_ACTIVITY_KIND_MEMORY2: {
        const auto& memory = reinterpret_cast<const CUpti_ActivityMemory4&>(record);
        if (memory.memoryOperationType == CUPTI_ACTIVITY_MEMORY_OPERATION_TYPE_ALLOCATION) {
          ++allocations;
        }
        break;
      }
      default:
        break;
    }
  }
};

inline void to_json(nlohmann::json& json, const DeviceActivity::Copies& copies) {
  json = {{"count", copies.count}, {"bytes", copies.bytes}};
}

}  // namespace kvcache::bench
