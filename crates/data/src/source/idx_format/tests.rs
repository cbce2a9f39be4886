//! Tests of the IDX reader, with truncated and hostile files.

use std::path::Path;

use flate2::read::MultiGzDecoder;
use proptest::prelude::*;

use super::*;
use crate::testing::{assert_says, gzip, idx, idx_of};

fn parse(bytes: &[u8], kind: IdxContent) -> Result<RawArray, DataError> {
    read(&mut &bytes[..], kind, Path::new("some-file"), bytes.len() as u64)
}

fn product(sizes: &[u32]) -> usize {
    sizes.iter().map(|size| *size as usize).product()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_is_read_as_it_was_written(sizes in prop::collection::vec(1_u32..6, 2..=4), fill: u8) {
        let values: Vec<u8> = (0..product(&sizes)).map(|i| fill.wrapping_add(i as u8)).collect();
        let array = parse(&idx(&sizes, &values), IdxContent::Images).unwrap();
        prop_assert_eq!(array.sizes, sizes.iter().map(|&size| size as usize).collect::<Vec<_>>());
        prop_assert_eq!(array.values, RawValues::U8(values));
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes, IdxContent::Images);
        let _ = parse(&[&[0, 0, 8, 3], &bytes[..]].concat(), IdxContent::Images);
    }
}

#[test]
fn a_file_truncated_at_any_length_is_refused() {
    let whole = idx(&[3, 2, 2], &[7; 12]);
    for length in 0..whole.len() {
        let error = parse(&whole[..length], IdxContent::Images).unwrap_err();
        assert!(matches!(error, DataError::Truncated { .. }), "at {length}: {error}");
        let reason = if length == 0 {
            "is empty".into()
        } else {
            format!(
                "truncated: its header promises {} bytes and it has {length}",
                if length < 4 {
                    4
                } else if length < 16 {
                    16
                } else {
                    28
                }
            )
        };
        assert_says(&error, &["some-file", &reason]);
    }
}

#[test]
fn a_gzip_file_truncated_at_any_length_is_refused() {
    let whole = gzip(&idx(&[3, 2, 2], &[7; 12]));
    let parse = |bytes| read(&mut MultiGzDecoder::new(bytes), IdxContent::Images, Path::new("some-file"), 100);
    parse(&whole[..]).unwrap();
    for length in 0..whole.len() {
        let error = parse(&whole[..length]).unwrap_err();
        assert!(matches!(error, DataError::Truncated { .. } | DataError::Read { .. }), "at {length}: {error}");
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let error = parse(&idx(&[3], &[1, 2, 0, 9]), IdxContent::Labels).unwrap_err();
    assert_says(&error, &["some-file", "after the 11 bytes"]);
}

#[test]
fn another_magic_number_is_refused() {
    let labels = idx(&[3], &[1, 2, 0]);
    let images = idx(&[1, 1, 1], &[1]);
    assert_says(
        &parse(&labels, IdxContent::Images).unwrap_err(),
        &["some-file", "IDX file of images", "begins as an IDX file of labels does"],
    );
    assert_says(
        &parse(&images, IdxContent::Labels).unwrap_err(),
        &["IDX file of labels", "begins as an IDX file of images does"],
    );
    let mut other = images;
    other[2] = 0x07;
    assert_says(&parse(&other, IdxContent::Images).unwrap_err(), &["no known file does ([00, 00, 07, 03])"]);
    assert_says(
        &parse(b"\x1f\x8b\x08\x00rest", IdxContent::Images).unwrap_err(),
        &["a gzip file does (it is compressed twice)"],
    );
}

#[test]
fn an_empty_set_is_refused() {
    assert_says(&parse(&idx(&[0, 28, 28], &[]), IdxContent::Images).unwrap_err(), &["no examples", "[0, 28, 28]"]);
}

/// A header that promises too much must not cause a large allocation.
#[test]
fn a_header_that_promises_too_much_is_refused() {
    let error = parse(&idx(&[u32::MAX, u32::MAX, u32::MAX], &[0; 9]), IdxContent::Images).unwrap_err();
    assert!(matches!(error, DataError::TooLarge { .. }), "{error}");
    let error = parse(&idx(&[u32::MAX, 1000, 1000], &[0; 9]), IdxContent::Images).unwrap_err();
    assert!(matches!(error, DataError::Truncated { found: 25, .. }), "{error}");
}

#[test]
fn each_type_keeps_its_values() {
    let cases: [(u8, &[u8], RawValues); 6] = [
        (0x08, &[0, 255], RawValues::U8(vec![0, 255])),
        (0x09, &[1, 0x80], RawValues::F32(vec![1.0, -128.0])),
        (0x0b, &[0x80, 0, 1, 0], RawValues::F32(vec![-32768.0, 256.0])),
        (0x0c, &[0x80, 0, 0, 1, 0, 0, 0, 7], RawValues::F64(vec![-2_147_483_647.0, 7.0])),
        (0x0d, &[0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0], RawValues::F32(vec![1.0, -2.0])),
        (0x0e, &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], RawValues::F64(vec![1.0, 2.0])),
    ];
    for (code, bytes, expected) in cases {
        assert_eq!(parse(&idx_of(code, &[2], bytes), IdxContent::Labels).unwrap().values, expected, "{code:#x}");
        let error = parse(&idx_of(code, &[2], &bytes[1..]), IdxContent::Labels).unwrap_err();
        assert!(matches!(error, DataError::Truncated { .. }), "{code:#x}: {error}");
    }
}
