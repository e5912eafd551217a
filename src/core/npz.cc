// SPDX-License-Identifier: Apache-2.0
#include "core/npz.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/mmap_file.h"
#include "core/npy.h"

namespace redline {
namespace {

constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr uint32_t kEntrySignature = 0x02014b50;
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr size_t kEndBytes = 22;
constexpr size_t kEnd64LocatorBytes = 20;
constexpr size_t kEnd64Bytes = 56;
constexpr size_t kEntryBytes = 46;
constexpr size_t kLocalBytes = 30;

// One file in the archive.
struct Entry {
  std::string_view name;
  uint32_t crc = 0;
  uint64_t size = 0;
  uint64_t offset = 0;  // of its local header
};

struct Directory {
  uint64_t offset = 0;
  uint64_t entries = 0;
};

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

uint32_t crc32(std::span<const std::byte> bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (std::byte byte : bytes) {
    crc = (crc >> 8) ^ kCrcTable[(crc ^ std::to_integer<uint32_t>(byte)) & 255];
  }
  return ~crc;
}

class ZipReader {
 public:
  explicit ZipReader(std::span<const std::byte> file) : file_(file) {}

  Result<std::vector<Entry>> entries() const {
    REDLINE_ASSIGN(const Directory directory, find_directory());
    // Each entry takes at least its own bytes in the file.
    if (directory.entries > file_.size() / kEntryBytes) return damaged("its number of entries");
    std::vector<Entry> entries(directory.entries);
    uint64_t at = directory.offset;
    uint64_t total = 0;
    for (Entry& entry : entries) {
      REDLINE_TRY(read_entry(at, entry));
      // Entries that share bytes would let a small file stand for a huge one.
      if (entry.size > file_.size() - total) return damaged("its entries overlap");
      total += entry.size;
    }
    return entries;
  }

  Result<std::span<const std::byte>> content(const Entry& entry) const {
    if (!has(entry.offset, kLocalBytes) || load<uint32_t>(entry.offset) != kLocalSignature) {
      return damaged(str_cat("'", entry.name, "' is not where it should be"));
    }
    const uint64_t skip = kLocalBytes + uint64_t{load<uint16_t>(entry.offset + 26)} +
                          load<uint16_t>(entry.offset + 28);
    if (!has(entry.offset, skip) || !has(entry.offset + skip, entry.size)) {
      return damaged(str_cat("'", entry.name, "' is cut off"));
    }
    const auto bytes = file_.subspan(entry.offset + skip, entry.size);
    if (crc32(bytes) != entry.crc)
      return damaged(str_cat("'", entry.name, "' has another checksum"));
    return bytes;
  }

 private:
  static Status damaged(std::string_view what) {
    return invalid_argument("damaged archive: ", what);
  }

  bool has(uint64_t offset, uint64_t size) const {
    return offset <= file_.size() && size <= file_.size() - offset;
  }
  template <class T>
  T load(uint64_t offset) const {
    T value;
    std::memcpy(&value, file_.data() + offset, sizeof value);
    return value;
  }

  Result<Directory> find_directory() const {
    // The end record is last but for a comment of at most 64 KiB.
    const uint64_t lowest = file_.size() - std::min<uint64_t>(file_.size(), kEndBytes + 0xFFFF);
    for (uint64_t at = file_.size(); at-- > lowest;) {
      if (!has(at, kEndBytes) || load<uint32_t>(at) != kEndSignature) continue;
      const Directory directory{load<uint32_t>(at + 16), load<uint16_t>(at + 10)};
      const bool large = directory.offset == 0xFFFFFFFF || directory.entries == 0xFFFF;
      return large ? find_directory64(at) : directory;
    }
    return invalid_argument("not an .npz file: it is no zip archive");
  }

  Result<Directory> find_directory64(uint64_t end) const {
    if (end < kEnd64LocatorBytes ||
        load<uint32_t>(end - kEnd64LocatorBytes) != kEnd64LocatorSignature) {
      return damaged("its directory has no place");
    }
    const auto at = load<uint64_t>(end - kEnd64LocatorBytes + 8);
    if (!has(at, kEnd64Bytes) || load<uint32_t>(at) != kEnd64Signature) {
      return damaged("its directory has no place");
    }
    return Directory{load<uint64_t>(at + 48), load<uint64_t>(at + 32)};
  }

  // Reads the entry at `at` and moves `at` past it.
  Status read_entry(uint64_t& at, Entry& entry) const {
    if (!has(at, kEntryBytes) || load<uint32_t>(at) != kEntrySignature) {
      return damaged("its directory is cut off");
    }
    const auto flags = load<uint16_t>(at + 8);
    const auto method = load<uint16_t>(at + 10);
    const uint64_t name_bytes = load<uint16_t>(at + 28);
    const uint64_t extra_bytes = load<uint16_t>(at + 30);
    const uint64_t bytes = kEntryBytes + name_bytes + extra_bytes + load<uint16_t>(at + 32);
    if (!has(at, bytes)) return damaged("its directory is cut off");
    entry.name = {reinterpret_cast<const char*>(file_.data() + at + kEntryBytes), name_bytes};
    entry.crc = load<uint32_t>(at + 16);
    const uint64_t stored = load<uint32_t>(at + 20);
    entry.size = load<uint32_t>(at + 24);
    entry.offset = load<uint32_t>(at + 42);
    if ((flags & 1) != 0) return unsupported("'", entry.name, "' is encrypted");
    if (method != 0) {
      return unsupported("'", entry.name,
                         "' is compressed; expected an archive as numpy.savez, not "
                         "numpy.savez_compressed, writes it");
    }
    if (stored != entry.size) return damaged(str_cat("'", entry.name, "' has two sizes"));
    REDLINE_TRY(read_large_sizes(at + kEntryBytes + name_bytes, extra_bytes, stored, entry));
    at += bytes;
    return {};
  }

  // Sizes and offsets over 4 GB are in an extra field, only those that need it, in this order.
  Status read_large_sizes(uint64_t at, uint64_t bytes, uint64_t stored, Entry& entry) const {
    constexpr uint64_t kElsewhere = 0xFFFFFFFF;
    std::vector<uint64_t*> wanted;
    uint64_t stored_large = 0;
    if (entry.size == kElsewhere) wanted.push_back(&entry.size);
    if (stored == kElsewhere) wanted.push_back(&stored_large);
    if (entry.offset == kElsewhere) wanted.push_back(&entry.offset);
    if (wanted.empty()) return {};
    const uint64_t end = at + bytes;
    while (end - at >= 4) {
      const uint64_t size = load<uint16_t>(at + 2);
      if (size > end - at - 4) break;
      if (load<uint16_t>(at) == 1 && size >= 8 * wanted.size()) {
        for (size_t i = 0; i < wanted.size(); ++i) *wanted[i] = load<uint64_t>(at + 4 + 8 * i);
        return {};
      }
      at += 4 + size;
    }
    return damaged(str_cat("'", entry.name, "' has no size"));
  }

  std::span<const std::byte> file_;
};

}  // namespace

Result<NamedTensors> read_npz(std::span<const std::byte> bytes,
                              const std::shared_ptr<const void>& owner) {
  const ZipReader zip(bytes);
  REDLINE_ASSIGN(const std::vector<Entry> entries, zip.entries());
  NamedTensors tensors;
  for (const Entry& entry : entries) {
    constexpr std::string_view kSuffix = ".npy";
    if (!entry.name.ends_with(kSuffix)) {
      return invalid_argument("it holds '", entry.name, "', which is not an .npy file");
    }
    REDLINE_ASSIGN(const auto content, zip.content(entry));
    auto tensor = read_npy(content, owner);
    if (!tensor.ok()) return tensor.status().with_context(str_cat("'", entry.name, "'"));
    tensors.emplace_back(entry.name.substr(0, entry.name.size() - kSuffix.size()),
                         *std::move(tensor));
  }
  return tensors;
}

Result<NamedTensors> read_npz_file(const std::string& path) {
  REDLINE_ASSIGN(auto file, MmapFile::open(path));
  auto tensors = read_npz(file->bytes(), file);
  if (!tensors.ok()) return tensors.status().with_context(str_cat("'", path, "'"));
  return tensors;
}

}  // namespace redline
