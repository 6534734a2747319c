//! Tables, with their heads said to be heads.

/// How a column is set, and what stands at its top.
pub(super) enum Column {
    Words(&'static str),
    /// To the right, so that digits stand below each other.
    Number(&'static str),
}

/// A table, of rows in markup. `class` is for styles. Of a long one a part is seen, until somebody scrolls or prints
/// it.
pub(super) fn table(class: &str, columns: &[Column], rows: &str) -> String {
    let heads: String = columns
        .iter()
        .map(|column| match column {
            Column::Words(head) => format!("<th scope=\"col\">{head}</th>"),
            Column::Number(head) => format!("<th scope=\"col\" class=\"number\">{head}</th>"),
        })
        .collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table class=\"{class}\"><thead><tr>{heads}</tr></thead>\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// A cell with a number in it.
pub(super) fn number(value: impl std::fmt::Display) -> String {
    format!("<td class=\"number\">{value}</td>")
}
