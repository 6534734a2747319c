//! Aligned columns, two spaces apart.

use std::io::{self, Write};

/// Prints rows as they come, each column as wide as the widest cell so far.
///
/// * The header is printed once, before the first row.
/// * Columns never get narrower, so the pages of a long scan line up unless a later page holds something wider.
#[derive(Debug)]
pub struct Table {
    header: &'static [&'static str],
    widths: Vec<usize>,
    header_printed: bool,
}

impl Table {
    /// A table with these columns.
    pub fn new(header: &'static [&'static str]) -> Table {
        Table { header, widths: header.iter().map(|title| title.len()).collect(), header_printed: false }
    }

    /// Prints some rows, aligned with one another.
    pub fn rows(&mut self, out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
        for row in rows {
            assert_eq!(row.len(), self.header.len(), "a row has one cell for each column");
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.header_printed {
            self.header_printed = true;
            self.line(out, self.header.iter().copied())?;
        }
        for row in rows {
            self.line(out, row.iter().map(String::as_str))?;
        }
        Ok(())
    }

    fn line<'a>(&self, out: &mut dyn Write, cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let mut line = String::new();
        for (cell, width) in cells.zip(&self.widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        writeln!(out, "{}", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_header_comes_once() {
        let mut out = Vec::new();
        let mut table = Table::new(&["KEY", "REVISION"]);
        table.rows(&mut out, &[vec!["é".into(), "12".into()], vec!["longer".into(), "3".into()]]).unwrap();
        table.rows(&mut out, &[vec!["a".into(), "".into()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "KEY     REVISION\né       12\nlonger  3\na\n");
    }

    /// An empty answer still says which columns there would have been.
    #[test]
    fn a_table_without_rows_is_its_header() {
        let mut out = Vec::new();
        Table::new(&["KEY", "REVISION"]).rows(&mut out, &[]).unwrap();
        assert_eq!(out, b"KEY  REVISION\n");
    }
}
