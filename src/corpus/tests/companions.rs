//! What the files beside a `tokenizer.json` mean where two of them, or one and it, disagree.

use crate::corpus::companions::Companions;
use tokenizers::AddedToken;

/// What these files say beside a `tokenizer.json` with the added tokens `present`.
fn of(files: &[(&str, &str)], present: &[AddedToken]) -> Companions {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
    Companions::of(folder.path(), present, &[]).unwrap()
}

fn contents(found: &Companions) -> Vec<&str> {
    found.tokens.iter().map(|token| token.content.as_str()).collect()
}

const CONFIG: &str = "tokenizer_config.json";
const MAP: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

#[test]
fn the_last_of_two_keys_and_the_later_of_two_files_hold() {
    let twice = (CONFIG, r#"{"split_special_tokens": true, "split_special_tokens": false}"#);
    assert!(!of(&[twice], &[]).split_special);
    // a token of the model's own, which both files name
    let both = [(CONFIG, r#"{"image_token": "<i>"}"#), (MAP, r#"{"image_token": "<j>"}"#)];
    assert_eq!(contents(&of(&both, &[])), ["<j>"]);
    let lists = r#"{"additional_special_tokens": ["<a>"], "extra_special_tokens": ["<e>"]}"#;
    assert_eq!(contents(&of(&[(CONFIG, lists)], &[])), ["<e>"]);
    let empty = r#"{"additional_special_tokens": ["<a>"], "extra_special_tokens": []}"#;
    assert_eq!(contents(&of(&[(CONFIG, empty)], &[])), ["<a>"]);
}

#[test]
fn a_named_token_is_special_and_what_the_tokenizer_says_of_its_own_holds() {
    let stored = r#"{"added_tokens_decoder": {"9": {"content": "<p>", "special": false}}, "pad_token": "<p>"}"#;
    let found = of(&[(CONFIG, stored)], &[]);
    assert_eq!(contents(&found), ["<p>"]);
    assert!(found.tokens[0].special);
    let present = AddedToken { lstrip: true, ..AddedToken::from("<m>", true) };
    let files = [(ADDED, r#"{"<m>": 5, "<n>": 4}"#), (MAP, r#"{"mask_token": "<m>"}"#)];
    assert_eq!(contents(&of(&files, &[present])), ["<n>"], "it is there already, with its flags");
    assert_eq!(contents(&of(&files, &[])), ["<n>", "<m>"], "in the order of their ids");
}
