//! Where automatic VIPs are kept from one run to the next.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::model::VipTable;
use crate::sources::store::{DAMAGED, make_directory};

/// The file that holds the table, and what it holds now.
#[derive(Debug)]
pub(super) struct VipFile {
    path: PathBuf,
    saved: VipTable,
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}; the state directory must exist and be writable")]
pub(super) struct VipFileError {
    path: PathBuf,
    source: io::Error,
}

impl VipFile {
    /// Reads the table of an earlier run, if there was one.
    pub(super) fn open(state_dir: &Path) -> Result<Self, VipFileError> {
        let path = state_dir.join("vips.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(VipFileError { path, source }),
        };
        let saved = text.map_or_else(VipTable::default, |text| {
            VipTable::from_json(&text).unwrap_or_else(|error| {
                let aside = path.with_extension(DAMAGED);
                tracing::error!(file = %path.display(), %error, aside = %aside.display(),
                    "the automatic VIPs of earlier runs cannot be read: hosts may get other addresses");
                if let Err(error) = std::fs::rename(&path, &aside) {
                    tracing::warn!(%error, "the damaged file stays where it is");
                }
                VipTable::default()
            })
        });
        Ok(Self { path, saved })
    }

    pub(super) fn table(&self) -> VipTable {
        self.saved.clone()
    }

    /// Replaces the file whole, unless it says the same already.
    pub(super) fn save(&mut self, table: &VipTable) -> Result<(), VipFileError> {
        if *table == self.saved {
            return Ok(());
        }
        self.replace(table).map_err(|source| VipFileError {
            path: self.path.clone(),
            source,
        })?;
        self.saved = table.clone();
        Ok(())
    }

    fn replace(&self, table: &VipTable) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        make_directory(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(table.to_json().as_bytes())?;
        file.as_file().sync_data()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_an_empty_table() {
        let directory = tempfile::tempdir().unwrap();
        let file = VipFile::open(directory.path()).unwrap();
        assert_eq!(file.table(), VipTable::default());
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_does_not_stop_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("vips.json"), "{").unwrap();
        let file = VipFile::open(directory.path()).unwrap();
        assert_eq!(file.table(), VipTable::default());
        assert!(directory.path().join("vips.damaged").exists());
    }
}
