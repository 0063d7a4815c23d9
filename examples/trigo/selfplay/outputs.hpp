// The files that games are written to, whole or not there.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/atomic_file.hpp"
#include "selfplay/played_game.hpp"

namespace trigo {

/// Where games go; what is empty is not written.
struct OutputNames {
  std::string data;   // training data
  std::string trace;  // of searches
  std::string tgn;    // a directory, made where it is not there
};

class Outputs {
 public:
  /// Opens the files, so that what cannot be written is known before the first game.
  /// @throws std::system_error
  explicit Outputs(const OutputNames& names);

  /// @throws std::system_error
  void add(const PlayedGame& game);
  /// Gives the files their names. Games' TGN has its already.
  /// @throws std::system_error
  void commit();

 private:
  std::optional<kvcache::AtomicFile> data_;
  std::optional<kvcache::AtomicFile> trace_;
  std::filesystem::path tgn_;
};

}  // namespace trigo
