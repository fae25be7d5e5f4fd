//! What commands that look once (`analyze`, `compile`, `explain`) read from the paths on their command line.
//!
//! A directory stands for the same files as it does for the running agent: `*.yaml`, `*.yml` and `*.json` directly in it.
//! A file that is named itself is read whatever its extension, and `-` is the standard input.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::file::{self, MAX_FILE_BYTES, Reading};

/// The name under which diagnostics speak of the standard input.
const STDIN_NAME: &str = "stdin";

/// One file's text, with the name that diagnostics give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub file: String,
    pub text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{}: no such file or directory", path.display())]
    Missing { path: PathBuf },
    #[error("{}: cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{}: holds no .yaml, .yml or .json file (directories below it are not read)", path.display())]
    NoFiles { path: PathBuf },
}

/// Reads every file that `paths` stand for, in the order given, and by name within a directory.
pub fn read_paths(paths: &[PathBuf]) -> Result<Vec<Input>, InputError> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            inputs.push(read_stream(io::stdin().lock())?);
            continue;
        }
        let files = file::list(path)
            .map_err(|error| failure(path, &error))?
            .files;
        if files.is_empty() {
            return Err(InputError::NoFiles { path: path.clone() });
        }
        for file in files {
            inputs.push(read_file(file)?);
        }
    }
    Ok(inputs)
}

fn read_file(path: PathBuf) -> Result<Input, InputError> {
    match file::read(&path) {
        Reading::Text { text, .. } => Ok(Input {
            file: path.display().to_string(),
            text,
        }),
        Reading::Missing => Err(InputError::Missing { path }),
        Reading::Unsettled => Err(InputError::Unreadable {
            path,
            reason: "it is being written to".to_owned(),
        }),
        Reading::Unreadable(reason) => Err(InputError::Unreadable { path, reason }),
    }
}

fn read_stream(stream: impl Read) -> Result<Input, InputError> {
    let mut text = String::new();
    stream
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| failure(Path::new(STDIN_NAME), &error))?;
    Ok(Input {
        file: STDIN_NAME.to_owned(),
        text,
    })
}

fn failure(path: &Path, error: &io::Error) -> InputError {
    let path = path.to_owned();
    if error.kind() == io::ErrorKind::NotFound {
        InputError::Missing { path }
    } else {
        InputError::Unreadable {
            path,
            reason: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_and_a_file_of_any_name_are_read_in_the_order_given() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("notes.txt");
        fs::write(&named, "named").unwrap();
        fs::write(dir.path().join("b.yaml"), "b").unwrap();
        fs::write(dir.path().join("a.json"), "a").unwrap();
        let texts: Vec<String> = read_paths(&[named, dir.path().to_owned()])
            .unwrap()
            .into_iter()
            .map(|input| input.text)
            .collect();
        assert_eq!(texts, ["named", "a", "b"]);
    }

    #[test]
    fn a_missing_path_and_an_empty_directory_are_errors_that_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none");
        let error = read_paths(std::slice::from_ref(&missing))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            format!("{}: no such file or directory", missing.display())
        );
        let error = read_paths(&[dir.path().to_owned()]).unwrap_err();
        assert!(matches!(error, InputError::NoFiles { .. }), "{error}");
    }

    #[test]
    fn a_stream_is_named_stdin() {
        let input = read_stream(&b"kind: ServiceEntry"[..]).unwrap();
        assert_eq!(
            (&*input.file, &*input.text),
            ("stdin", "kind: ServiceEntry")
        );
    }
}
