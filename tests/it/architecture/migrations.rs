//! The form of migrations.

use std::fs;

use super::checkout;

#[test]
fn migrations_begin_with_a_comment() {
    for entry in fs::read_dir(checkout().join("migrations")).expect("the migrations") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a migration");
        assert!(text.starts_with("-- "), "{} does not begin with a comment", path.display());
    }
}
