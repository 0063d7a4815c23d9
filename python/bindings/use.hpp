// Who uses an object at the moment: what keeps threads of Python from changing one at a time that
// C++ would have undefined.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

namespace kvcache::python {

class Lease;

/// Direct calls fail while another one changes the object, and while requests do. Requests of an
/// Evaluator wait for each other there.
class Use {
 public:
  /// @throws Error invalid_argument, naming the object (`what`)
  void begin_change(std::string_view what);
  void begin_read(std::string_view what);
  void begin_requested_change(std::string_view what);
  void begin_requested_read(std::string_view what);

  void end_change() noexcept { uses_.fetch_sub(kChange, std::memory_order_acq_rel); }
  void end_read() noexcept { uses_.fetch_sub(kRead, std::memory_order_acq_rel); }
  void end_requested_change() noexcept {
    uses_.fetch_sub(kRequestedChange, std::memory_order_acq_rel);
  }
  void end_requested_read() noexcept { uses_.fetch_sub(kRequestedRead, std::memory_order_acq_rel); }

  /// Of a request, which may be answered before anybody was told.
  void add(const std::shared_ptr<Lease>& lease);

 private:
  // Numbers of each kind of use, side by side.
  static constexpr std::uint64_t kRead = 1;
  static constexpr std::uint64_t kRequestedRead = kRead << 16;
  static constexpr std::uint64_t kRequestedChange = kRequestedRead << 24;
  static constexpr std::uint64_t kChange = kRequestedChange << 23;  // none or one
  static constexpr std::uint64_t kReads = kRequestedRead - kRead;
  static constexpr std::uint64_t kRequested = kChange - kRequestedRead;
  static constexpr std::uint64_t kRequestedChanges = kChange - kRequestedChange;

  void begin(std::uint64_t kind, std::uint64_t refused_by, std::string_view what);
  [[nodiscard]] bool try_begin(std::uint64_t kind, std::uint64_t refused_by) noexcept;
  void end_answered();

  std::atomic<std::uint64_t> uses_ = 0;
  std::mutex mutex_;
  std::vector<std::weak_ptr<Lease>> leases_;
};

/// A use until the end of a block.
class Changing {
 public:
  Changing(Use& use, std::string_view what) : use_(use) { use_.begin_change(what); }
  ~Changing() { use_.end_change(); }
  Changing(const Changing&) = delete;
  Changing& operator=(const Changing&) = delete;

 private:
  Use& use_;
};

class Reading {
 public:
  Reading(Use& use, std::string_view what) : use_(use) { use_.begin_read(what); }
  ~Reading() { use_.end_read(); }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

 private:
  Use& use_;
};

}  // namespace kvcache::python
