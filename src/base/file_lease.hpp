// A say in when others may change a file that is in use here.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace kvcache {

/// A read lease on an open file, see fcntl(2): whoever opens the file for writing or makes it
/// shorter, in this process or another, waits until it is given back, at most as long as
/// /proc/sys/fs/lease-break-time says (45 s). Replacing the file by another one of its name does
/// not touch it, and does not wait.
///
/// Linux gives it to the file's owner and to root, on most file systems of the machine's own, while
/// nobody has the file open for writing. It tells by a signal that somebody waits; a thread of this
/// object's own receives that, so that nothing of the host's is touched. Not copyable (RAII).
class FileLease {
 public:
  /// Takes it, if it can be had. `wanted` is called in that thread when somebody waits, once.
  /// @throws std::system_error when there is no thread
  FileLease(int descriptor, std::function<void()> wanted);
  FileLease(const FileLease&) = delete;
  FileLease& operator=(const FileLease&) = delete;
  /// Gives it back.
  ~FileLease();

  [[nodiscard]] bool held() const noexcept { return held_; }

  /// From any thread, also in `wanted`.
  void give_back() noexcept;

 private:
  bool take() const;
  void wait_for_others();

  int descriptor_;
  std::function<void()> wanted_;
  std::atomic<bool> held_ = false;
  std::thread thread_;  // there until the destructor where it was held
};

}  // namespace kvcache
