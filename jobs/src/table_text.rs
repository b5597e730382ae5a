//! Columns of text, aligned.

/// Rows under a header, each column as wide as its widest cell. Numbers go to the right.
pub fn align(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns = header.len();
    let mut widths: Vec<usize> = header.iter().map(|name| name.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let is_number =
        |cell: &String| !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || ",.-+e%".contains(c));
    let right: Vec<bool> = (0..columns)
        .map(|column| !rows.is_empty() && rows.iter().all(|row| row.get(column).is_none_or(is_number)))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, cell) in cells.take(columns).enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            match right[column] {
                true => text.push_str(&format!("{padding}{cell}  ")),
                false => text.push_str(&format!("{cell}{padding}  ")),
            }
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_right_and_text_goes_left() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "1,000".to_owned()]];
        insta::assert_snapshot!(align(&["name", "rows"], &rows), @"
        name   rows
        a         1
        long  1,000
        ");
    }
}
