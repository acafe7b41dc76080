//! What does a value of a Parquet column read as? Names and labels may be of any type that has a plain text form.
//!
//! Numbers, booleans, dates and times as arrow writes them; a time with a zone is an instant and is given in UTC, `Z` behind it; a
//! UUID in its five groups; other bytes as UTF-8, or where they are none in hexadecimal.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use std::fmt::Write;
use std::sync::Arc;

/// Whether values of a type have a plain text form.
pub(super) fn has_text_form(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => has_text_form(value),
        DataType::Timestamp(_, Some(_)) | DataType::FixedSizeBinary(_) => true,
        kind => !kind.is_nested() && can_cast_types(kind, &DataType::Utf8),
    }
}

/// Values as text, nulls as nulls; `uuid`: 16 bytes are one.
///
/// # Errors
/// For a type that has no text form.
pub(super) fn texts(values: &ArrayRef, uuid: bool) -> Result<StringArray, ArrowError> {
    let by_bytes = |bytes: &ArrayRef| {
        let bytes = bytes.as_binary::<i64>();
        StringArray::from_iter(bytes.iter().map(|value| value.map(|value| text_of_bytes(value, uuid))))
    };
    match values.data_type() {
        DataType::Dictionary(_, value) => texts(&cast(values, value)?, uuid),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Ok(by_bytes(&cast(values, &DataType::LargeBinary)?))
        }
        DataType::Timestamp(unit, Some(_)) => {
            let bare: ArrayRef = match unit {
                TimeUnit::Second => {
                    Arc::new(values.as_primitive::<TimestampSecondType>().clone().with_timezone_opt(NO_ZONE))
                }
                TimeUnit::Millisecond => {
                    Arc::new(values.as_primitive::<TimestampMillisecondType>().clone().with_timezone_opt(NO_ZONE))
                }
                TimeUnit::Microsecond => {
                    Arc::new(values.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(NO_ZONE))
                }
                TimeUnit::Nanosecond => {
                    Arc::new(values.as_primitive::<TimestampNanosecondType>().clone().with_timezone_opt(NO_ZONE))
                }
            };
            let times = cast(&bare, &DataType::Utf8)?;
            Ok(StringArray::from_iter(times.as_string::<i32>().iter().map(|time| time.map(|time| format!("{time}Z")))))
        }
        _ => Ok(cast(values, &DataType::Utf8)?.as_string::<i32>().clone()),
    }
}

const NO_ZONE: Option<Arc<str>> = None;

fn text_of_bytes(bytes: &[u8], uuid: bool) -> String {
    if !uuid && let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_string();
    }
    let mut out = String::with_capacity(2 * bytes.len() + 4);
    for (k, byte) in bytes.iter().enumerate() {
        if uuid && bytes.len() == 16 && [4, 6, 8, 10].contains(&k) {
            out.push('-');
        }
        write!(out, "{byte:02x}").expect("a string takes all");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, StructArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Int8Type};

    fn of(values: impl Array + 'static, uuid: bool) -> Vec<Option<String>> {
        let values: ArrayRef = Arc::new(values);
        assert!(has_text_form(values.data_type()));
        texts(&values, uuid).unwrap().iter().map(|text| text.map(str::to_string)).collect()
    }

    #[test]
    fn names_and_labels_of_any_plain_type_are_texts() {
        let some = |text: &str| Some(text.to_string());
        let uuid: [u8; 16] = std::array::from_fn(|k| 0x10 * k as u8 + 1);
        let bytes = FixedSizeBinaryArray::try_from_iter([uuid].iter()).unwrap();
        assert_eq!(of(bytes.clone(), true), [some("01112131-4151-6171-8191-a1b1c1d1e1f1")]);
        assert_eq!(of(bytes, false), [some("0111213141516171819 1a1b1c1d1e1f1".replace(' ', "").as_str())]);
        assert_eq!(of(BinaryArray::from(vec![&b"de"[..], b"\xff"]), false), [some("de"), some("ff")]);
        // as chrono in Python writes the instant in UTC: 2024-02-29 23:00 in Berlin
        let time = TimestampMicrosecondArray::from(vec![Some(1_709_244_000_000_000), None]);
        for zone in ["Europe/Berlin", "+01:00", "UTC"] {
            assert_eq!(of(time.clone().with_timezone(zone), false), [some("2024-02-29T22:00:00Z"), None]);
        }
        assert_eq!(of(time, false), [some("2024-02-29T22:00:00"), None]);
        let keys: DictionaryArray<Int8Type> = [Some("de"), None, Some("fr"), Some("de")].into_iter().collect();
        assert_eq!(of(keys, false), [some("de"), None, some("fr"), some("de")]);
        let list = StructArray::from(vec![(
            Arc::new(Field::new("a", DataType::Int32, false)),
            Arc::new(Int32Array::from(vec![1])) as ArrayRef,
        )]);
        assert!(!has_text_form(list.data_type()));
    }
}
