//! The file of a recorded history: one entry per line as JSON, and an empty line after each round.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use crate::history::event::Entry;

/// A file that rounds are written to, or nothing if no file was asked for.
pub(crate) struct HistoryFile(Option<BufWriter<File>>);

impl HistoryFile {
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn create(path: Option<&Path>) -> Result<Self, String> {
        let create = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
        Ok(Self(path.map(create).transpose()?.map(BufWriter::new)))
    }

    /// Writes a round.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&mut self, entries: &[Entry]) -> Result<(), String> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        for entry in entries {
            let line = serde_json::to_string(entry).map_err(|error| error.to_string())?;
            writeln!(file, "{line}").map_err(|error| error.to_string())?;
        }
        writeln!(file).and_then(|()| file.flush()).map_err(|error| error.to_string())
    }
}

/// Reads the rounds of a file.
///
/// # Errors
/// The file cannot be read, or a line is no entry.
pub(crate) fn read(path: &Path) -> Result<Vec<Vec<Entry>>, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (mut rounds, mut round) = (Vec::new(), Vec::new());
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|error| error.to_string())?;
        if line.is_empty() {
            rounds.push(std::mem::take(&mut round));
        } else {
            round.push(serde_json::from_str(&line).map_err(|error| format!("no entry: {error}: {line}"))?);
        }
    }
    if !round.is_empty() {
        rounds.push(round);
    }
    Ok(rounds)
}
