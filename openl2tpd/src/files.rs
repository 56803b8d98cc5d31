//! The files of a configuration: the one that is named, and those that it includes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use config::Source;
use glob::{MatchOptions, Pattern};
use rustix::fs::OFlags;

/// How large a file may be, in octets. That is room for a million users.
const LARGEST: u64 = 64 << 20;

/// As a shell matches names.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Reads a file, unless it is too large.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    read_opened(File::open(path)?)
}

/// Reads a file that nobody has to write to for that: no pipe, and no device.
pub(crate) fn read_regular(path: &Path) -> io::Result<String> {
    // Nor is a writer waited for.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = File::options().read(true).custom_flags(flags).open(path)?;
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other(
            "it is no regular file, which alone can be read again",
        ));
    }
    read_opened(opened)
}

fn read_opened(file: File) -> io::Result<String> {
    let too_large = || io::Error::other("it is larger than 64 MiB");
    if file.metadata()?.len() > LARGEST {
        return Err(too_large());
    }
    // What is no plain file tells no length.
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(too_large());
    }
    Ok(text)
}

/// The files that the file called `from` includes with `pattern`, sorted by name.
pub(crate) fn find(
    pattern: &str,
    from: &str,
    read: fn(&Path) -> io::Result<String>,
) -> Result<Vec<Source>, String> {
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    let paths = if pattern.contains(['*', '?', '[']) {
        matching(pattern, folder)?
    } else {
        vec![folder.join(pattern)]
    };
    let source = |path: &PathBuf| -> io::Result<Source> {
        let text = read(path)?;
        // A file has one name, however it is come by, or it could include itself.
        let name = fs::canonicalize(path)?.display().to_string();
        Ok(Source { name, text })
    };
    let cannot = |path: &Path, error| format!("cannot read {}: {error}", path.display());
    paths
        .iter()
        .map(|path| source(path).map_err(|error| cannot(path, error)))
        .collect()
}

fn matching(pattern: &str, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = Pattern::escape(&folder.to_string_lossy());
    let whole = Path::new(&folder).join(pattern);
    let found = glob::glob_with(&whole.to_string_lossy(), MATCHING)
        .map_err(|error| format!("`{pattern}` is no pattern: {error}"))?;
    let mut paths = found
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("cannot look for {pattern}: {error}"))?;
    paths.retain(|path| !path.is_dir());
    paths.sort();
    Ok(paths)
}
