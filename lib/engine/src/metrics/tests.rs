use proptest::prelude::*;

use super::bounds::{next_bytes, next_text};

#[test]
fn upper_bounds_grow_at_their_end() {
    assert_eq!(next_text("device"), Some("devicf".to_owned()));
    assert_eq!(next_text("a\u{10ffff}\u{10ffff}"), Some("b".to_owned()));
    assert_eq!(next_text("\u{d7ff}"), Some("\u{e000}".to_owned()));
    assert_eq!(next_text("\u{10ffff}"), None);
    assert_eq!(next_text(""), None);
    assert_eq!(next_bytes(&[1, 255, 255]), Some(vec![2]));
    assert_eq!(next_bytes(&[255, 255]), None);
}

proptest! {
    #[test]
    fn the_next_text_is_above_all_that_begin_with_it(text in "\\PC{0,6}", more in "\\PC{0,6}") {
        if let Some(next) = next_text(&text) {
            let longer = format!("{text}{more}");
            prop_assert!(next > longer);
        }
    }
}
