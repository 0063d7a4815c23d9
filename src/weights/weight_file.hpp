// A file of weights in memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/huge_page_copy.hpp"

namespace kvcache::weights {

/// How the bytes come into memory.
enum class WeightSource {
  mapped,  // held by a lease where it can be; else whoever changes the file changes them
  held,    // mapped where a lease can hold it; else read
  read     // into memory of the process's own
};

/// The bytes of a file at a multiple of 2 MiB: mapped, and moved into huge pages while they are in
/// use, or read into such pages. Move-only (RAII).
///
/// Decoding reads all weights once per token, and small pages cost it 10 to 15 %. A mapping is made
/// of huge pages only where the system's cache holds the file in pieces of 2 MiB. And a mapping
/// follows the file: where that becomes shorter, reading it ends the process (SIGBUS). So a mapped
/// file is held by a lease (FileLease) until its bytes lie in memory of the process's own: whoever
/// wants to change it waits for that, which begins then.
class WeightFile {
 public:
  /// Maps the file and begins to enter its pages in the page table, or begins to read it, with
  /// `num_threads` threads.
  /// @throws Error model_not_found when the file cannot be opened; std::bad_alloc,
  ///         std::system_error
  WeightFile(const std::filesystem::path& path, WeightSource source, int num_threads);
  WeightFile(WeightFile&&) noexcept;
  WeightFile& operator=(WeightFile&&) noexcept;
  ~WeightFile();

  /// Waits until the first `end` bytes are there (read, or their pages entered: mapped ones can be
  /// read at any time, but then without a page fault each). For any number of threads.
  /// @throws Error digest_mismatch when the file ended before, or could not be read
  void wait(std::size_t end) const;

  /// To be called when all of the file's mappings in use are known: `others` are those that are not
  /// this object's. They move with it; after a read, at once, before this returns.
  void settle(std::vector<MappedPlace> others);

  /// Begins to move everything into memory of the process's own, in huge pages where it can be;
  /// others wait no longer for the file then. Where the system can't, it stays mapped. Once.
  void move();
  /// Waits for that. Whether all is there now.
  [[nodiscard]] bool wait_for_move() const;
  /// Ends it where it is: what `others` were may go from here on.
  void stop() noexcept;

  /// Whether changes of the file are kept off or do not matter.
  [[nodiscard]] bool is_independent() const;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept;
  /// The file as file_at() names it; empty where the system does not tell.
  [[nodiscard]] const std::string& file() const noexcept;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace kvcache::weights
