#include "maintenance/sealed_check.h"

#include "shared/directory.h"
#include "shared/sealed_files.h"

namespace oncelog::internal {

void check_sealed(const lmdb::Pages& pages, const lmdb::Meta& meta, const StoreIdentity& identity, Problems& problems) {
  const auto fault = [&](const lmdb::Fault& found) { problems.add(found); };
  const auto table = pages.table(meta, "sealed", fault);
  if (!table) return;  // No bucket was ever sealed.
  const std::filesystem::path directory = pages.path().parent_path();
  const Uuid store_file_id = store_file_id_of(directory, identity.store_id);
  const auto check = [&](const SealedFile& file) {
    if (file.check(directory) != SealedFile::State::damaged) return;
    problems.add(ProblemKind::hint, file.name, "the file does not match the checksum that is noted for it",
                 "opening the store after a reboot takes longer: the bucket's hints are made from the log",
                 "close the store in every process, then: oncelog repair --hints --store STORE");
  };
  pages.each(
      *table,
      [&](const lmdb::TreeEntry& entry) {
        const auto bucket = entry.number();
        const auto note = bucket ? Catalog::sealed_note(*bucket, entry.value, store_file_id) : std::nullopt;
        if (!note) return true;  // As good as none.
        check(SealedFile::index_of(*bucket, *note));
        check(SealedFile::column_of(*bucket, *note));
        return true;
      },
      fault);
}

}  // namespace oncelog::internal
