//! Sorting more records than memory is to hold: sorted runs go to a file without
//! a name, and are merged as they are read. A root file system of any size is
//! listed in the same memory.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use super::store;
use crate::error::{Context, Result};

/// Bytes of records that are in memory at a time.
const MOST_BYTES: usize = 4 << 20;
/// Runs that are merged to one, and the buffer of each of them in bytes.
const MOST_RUNS: usize = 64;
const BUFFER: usize = 16 << 10;
/// What an error says is read or written.
const OBJECT: &str = "a temporary file";
/// The lengths of a key and of a value, which stand before them.
const HEAD: usize = 8;

/// Takes records in any order. Those of one key stay in the order in which they
/// were added.
#[derive(Debug)]
pub struct Sorter {
    most: usize,
    /// Records, one after the other.
    bytes: Vec<u8>,
    /// Where each of them begins.
    starts: Vec<u32>,
    runs: Runs,
}

/// Sorted runs, one after the other in a file.
#[derive(Debug, Default)]
struct Runs {
    file: Option<File>,
    all: Vec<Run>,
    end: u64,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    start: u64,
    end: u64,
    /// How often its records were merged: only equals are, so that a record is
    /// not written once for each run.
    level: u32,
}

impl Default for Sorter {
    fn default() -> Sorter {
        Sorter::new(MOST_BYTES)
    }
}

fn length(bytes: &[u8], at: usize) -> usize {
    let field = bytes[at..at + 4].try_into().expect("four bytes are four");
    u32::from_le_bytes(field) as usize
}

/// Key and value of the record that begins somewhere.
fn record(bytes: &[u8], start: u32) -> (&[u8], &[u8]) {
    let start = start as usize;
    let key = start + HEAD;
    let value = key + length(bytes, start);
    let end = value + length(bytes, start + 4);
    (&bytes[key..value], &bytes[value..end])
}

impl Sorter {
    fn new(most: usize) -> Sorter {
        Sorter {
            most,
            bytes: Vec::new(),
            starts: Vec::new(),
            runs: Runs::default(),
        }
    }

    /// Adds a record; key and value are shorter than 1 GiB.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.starts.push(self.bytes.len() as u32);
        for length in [key.len(), value.len()] {
            self.bytes.extend_from_slice(&(length as u32).to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        if self.bytes.len() >= self.most {
            self.spill()?;
        }
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        // What was added first begins first.
        self.starts
            .sort_unstable_by(|a, b| (record(bytes, *a).0, a).cmp(&(record(bytes, *b).0, b)));
    }

    fn spill(&mut self) -> Result<()> {
        self.sort();
        let mut writer = self.runs.begin()?;
        for start in &self.starts {
            let (key, value) = record(&self.bytes, *start);
            writer.put(key, value)?;
        }
        writer.end(0)?;
        self.bytes.clear();
        self.starts.clear();
        self.runs.merge()
    }

    /// All records that were added.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub fn finish(mut self) -> Result<Sorted> {
        if self.runs.all.is_empty() {
            self.sort();
            self.bytes.shrink_to_fit();
        } else if !self.starts.is_empty() {
            self.spill()?;
        }
        if !self.runs.all.is_empty() {
            (self.bytes, self.starts) = (Vec::new(), Vec::new());
        }
        Ok(Sorted {
            bytes: self.bytes,
            starts: self.starts,
            runs: self.runs,
        })
    }
}

/// Writes a run at the end of the file.
struct RunWriter<'a> {
    runs: &'a mut Runs,
    buffer: Vec<u8>,
    start: u64,
}

impl RunWriter<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        for length in [key.len(), value.len()] {
            self.buffer
                .extend_from_slice(&(length as u32).to_le_bytes());
        }
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        if self.buffer.len() >= MOST_RUNS * BUFFER / 4 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let file = self.runs.file.as_ref().expect("a run has begun");
        file.write_all_at(&self.buffer, self.runs.end)
            .doing("write", OBJECT)?;
        self.runs.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn end(mut self, level: u32) -> Result<()> {
        self.flush()?;
        let run = Run {
            start: self.start,
            end: self.runs.end,
            level,
        };
        self.runs.all.push(run);
        Ok(())
    }
}

impl Runs {
    fn begin(&mut self) -> Result<RunWriter<'_>> {
        if self.file.is_none() {
            self.file = Some(store::unnamed()?);
        }
        Ok(RunWriter {
            start: self.end,
            buffer: Vec::new(),
            runs: self,
        })
    }

    /// Makes one of the last runs when there are as many of a level as are
    /// merged at once.
    fn merge(&mut self) -> Result<()> {
        loop {
            let Some(from) = self.all.len().checked_sub(MOST_RUNS) else {
                return Ok(());
            };
            let level = self.all[from].level;
            if self.all.iter().skip(from).any(|run| run.level != level) {
                return Ok(());
            }
            let last = self.all.split_off(from);
            let file = self.file.as_ref().expect("it has runs");
            let again = file.try_clone().doing("read", OBJECT)?;
            let mut merge = Merge::of(&again, &last)?;
            let mut writer = self.begin()?;
            while let Some((key, value)) = merge.next()? {
                writer.put(key, value)?;
            }
            writer.end(level + 1)?;
        }
    }
}

/// Records in the order of their keys.
#[derive(Debug, Default)]
pub struct Sorted {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    runs: Runs,
}

impl Sorted {
    /// Reads all of them, from the first on.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn records(&self) -> Result<Records<'_>> {
        Ok(match &self.runs.file {
            None => Records::Memory {
                sorted: self,
                next: 0,
            },
            Some(file) => Records::Runs(Merge::of(file, &self.runs.all)?),
        })
    }
}

/// Reads records in order.
#[derive(Debug)]
pub enum Records<'a> {
    /// All of them are in memory.
    Memory {
        /// Whose they are.
        sorted: &'a Sorted,
        /// The number of the next one.
        next: usize,
    },
    /// They are in a file.
    Runs(Merge<'a>),
}

impl Records<'_> {
    /// Key and value of the next record; None at the end.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self {
            Records::Memory { sorted, next } => {
                let start = sorted.starts.get(*next);
                *next += 1;
                Ok(start.map(|start| record(&sorted.bytes, *start)))
            }
            Records::Runs(merge) => merge.next(),
        }
    }
}

/// Merges runs.
#[derive(Debug)]
pub struct Merge<'a> {
    readers: Vec<RunReader<'a>>,
    /// Keys of the next record of each run, and the run.
    next: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    /// The run whose record was handed out, and its key.
    current: Option<(Vec<u8>, usize)>,
}

impl<'a> Merge<'a> {
    fn of(file: &'a File, runs: &[Run]) -> Result<Merge<'a>> {
        let mut merge = Merge {
            readers: Vec::new(),
            next: BinaryHeap::new(),
            current: None,
        };
        for run in runs {
            let mut reader = RunReader {
                file,
                buffer: Vec::new(),
                used: 0,
                position: run.start,
                end: run.end,
                value: Vec::new(),
            };
            let mut key = Vec::new();
            if reader.read(&mut key)? {
                merge.next.push(Reverse((key, merge.readers.len())));
            }
            merge.readers.push(reader);
        }
        Ok(merge)
    }

    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if let Some((mut key, run)) = self.current.take()
            && self.readers[run].read(&mut key)?
        {
            self.next.push(Reverse((key, run)));
        }
        let Some(Reverse(next)) = self.next.pop() else {
            return Ok(None);
        };
        let (key, run) = self.current.insert(next);
        Ok(Some((key, &self.readers[*run].value)))
    }
}

#[derive(Debug)]
struct RunReader<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read.
    used: usize,
    /// Where in the file the buffer ends.
    position: u64,
    end: u64,
    /// Of the last record.
    value: Vec<u8>,
}

impl RunReader<'_> {
    /// Reads a record; false at the end.
    fn read(&mut self, key: &mut Vec<u8>) -> Result<bool> {
        let mut head = Vec::with_capacity(HEAD);
        self.take(&mut head, HEAD)?;
        if head.is_empty() {
            return Ok(false);
        }
        let mut value = std::mem::take(&mut self.value);
        key.clear();
        value.clear();
        self.take(key, length(&head, 0))?;
        self.take(&mut value, length(&head, 4))?;
        self.value = value;
        Ok(true)
    }

    /// Takes bytes, or none at the run's end.
    fn take(&mut self, to: &mut Vec<u8>, mut count: usize) -> Result<()> {
        while count > 0 {
            if self.used == self.buffer.len() {
                let left = self.end - self.position;
                let length = left.min(BUFFER as u64) as usize;
                if length == 0 {
                    return Ok(());
                }
                self.buffer.resize(length, 0);
                self.file
                    .read_exact_at(&mut self.buffer, self.position)
                    .doing("read", OBJECT)?;
                self.position += length as u64;
                self.used = 0;
            }
            let step = count.min(self.buffer.len() - self.used);
            to.extend_from_slice(&self.buffer[self.used..self.used + step]);
            self.used += step;
            count -= step;
        }
        Ok(())
    }
}

/// A set of numbers. Beyond some of them they go to a file, in sorted runs, so
/// that memory does not depend on how many there are.
#[derive(Debug, Default)]
pub struct Numbers {
    here: std::collections::HashSet<u64>,
    file: Option<File>,
    /// Where each run ends, in numbers.
    ends: Vec<u64>,
}

/// Numbers that are in memory at a time.
const MOST_NUMBERS: usize = 900_000;

impl Numbers {
    /// Adds a number.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub fn add(&mut self, number: u64) -> Result<()> {
        self.here.insert(number);
        if self.here.len() >= MOST_NUMBERS {
            self.spill()
        } else {
            Ok(())
        }
    }

    fn spill(&mut self) -> Result<()> {
        let mut numbers: Vec<u64> = self.here.drain().collect();
        numbers.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(store::unnamed()?),
        };
        let mut bytes = Vec::with_capacity(1 << 16);
        for part in numbers.chunks(1 << 13) {
            bytes.clear();
            part.iter()
                .for_each(|number| bytes.extend_from_slice(&number.to_ne_bytes()));
            file.write_all(&bytes).doing("write", OBJECT)?;
        }
        let begin = self.ends.last().copied().unwrap_or(0);
        self.ends.push(begin + numbers.len() as u64);
        Ok(())
    }

    /// Whether a number was added.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn has(&self, number: u64) -> Result<bool> {
        if self.here.contains(&number) {
            return Ok(true);
        }
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let mut begin = 0;
        for end in &self.ends {
            let (mut low, mut high) = (begin, *end);
            while low < high {
                let middle = low + (high - low) / 2;
                let mut bytes = [0; 8];
                file.read_exact_at(&mut bytes, middle * 8)
                    .doing("read", OBJECT)?;
                match u64::from_ne_bytes(bytes).cmp(&number) {
                    Ordering::Equal => return Ok(true),
                    Ordering::Less => low = middle + 1,
                    Ordering::Greater => high = middle,
                }
            }
            begin = *end;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(sorted: &Sorted) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut records = sorted.records().unwrap();
        let mut all = Vec::new();
        while let Some((key, value)) = records.next().unwrap() {
            all.push((key.to_vec(), value.to_vec()));
        }
        all
    }

    #[test]
    fn in_memory_and_beyond() {
        // From none in a file to runs that were merged twice.
        for (most, runs) in [(1 << 20, 0), (2000, 59), (12, 144)] {
            let mut sorter = Sorter::new(most);
            let mut wanted = Vec::new();
            for i in 0..9000_u32 {
                let key = (i.wrapping_mul(2_654_435_761) % 3000).to_be_bytes();
                let value = vec![i as u8; i as usize % 7];
                sorter.add(&key, &value).unwrap();
                wanted.push((key.to_vec(), value));
            }
            // Stable, as what is tested is to be.
            wanted.sort_by(|a, b| a.0.cmp(&b.0));
            let sorted = sorter.finish().unwrap();
            assert!(sorted.runs.all.len() <= runs, "{}", sorted.runs.all.len());
            assert!(all(&sorted) == wanted, "{most}");
            assert!(all(&sorted) == wanted, "{most}, once more");
        }
        assert!(all(&Sorter::default().finish().unwrap()).is_empty());
    }

    #[test]
    fn a_record_beyond_every_buffer() {
        let mut sorter = Sorter::new(1000);
        let long = vec![7; 3 * BUFFER + 1];
        for key in [b"b", b"a", b"c"] {
            sorter.add(key, &long).unwrap();
        }
        let keys: Vec<_> = all(&sorter.finish().unwrap())
            .into_iter()
            .map(|(key, value)| {
                assert!(value == long);
                key
            })
            .collect();
        assert_eq!(keys, [b"a", b"b", b"c"]);
    }

    #[test]
    fn numbers_beyond_memory() {
        let mut numbers = Numbers::default();
        for number in 0..3000_u64 {
            numbers
                .add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .unwrap();
            if number % 1000 == 999 {
                numbers.spill().unwrap();
            }
        }
        numbers.add(5).unwrap();
        for number in 0..3000_u64 {
            let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert!(numbers.has(number).unwrap());
        }
        assert!(numbers.has(5).unwrap());
        assert!(!numbers.has(6).unwrap());
    }
}
