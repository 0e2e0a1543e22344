use proptest::prelude::*;

use super::*;

const BOUNDARY: &str = "----x";

/// The events of a body that comes in pieces, with the bytes of the file joined.
fn parsed(body: &[u8], pieces: &[usize]) -> Result<Vec<FormEvent>, S3Error> {
    let mut parser = FormParser::new(BOUNDARY);
    let (mut events, mut rest) = (VecDeque::new(), Bytes::copy_from_slice(body));
    let mut lens = pieces.iter().cycle();
    while !rest.is_empty() {
        let len = *lens.next().unwrap_or(&usize::MAX);
        parser.feed(rest.split_to(len.clamp(1, rest.len())), &mut events)?;
    }
    parser.finish()?;
    let mut joined: Vec<FormEvent> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(FormEvent::Data(before)), FormEvent::Data(more)) => {
                *before = [before.as_ref(), more.as_ref()].concat().into();
            }
            (_, event) => joined.push(event),
        }
    }
    Ok(joined)
}

fn part(head: &str, value: &[u8]) -> Vec<u8> {
    [b"\r\n------x\r\n", head.as_bytes(), b"\r\n\r\n", value].concat()
}

fn field(name: &str, value: &str) -> Vec<u8> {
    part(&format!("Content-Disposition: form-data; name=\"{name}\""), value.as_bytes())
}

fn file(bytes: &[u8]) -> Vec<u8> {
    part("Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"", bytes)
}

/// A body of parts, as browsers send it: without a line end in front.
fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut body = parts.concat();
    body.drain(..2.min(body.len()));
    body.extend_from_slice(b"\r\n------x--\r\n");
    body
}

fn code(body: &[u8]) -> ErrorCode {
    parsed(body, &[]).unwrap_err().code
}

/// Pieces of which files are made that look like delimiters and are none.
const NEARLY: [&[u8]; 12] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n--",
    b"\r\n------",
    b"\r\n------x",
    b"\r\n------x-",
    b"\r\n------x \t",
    b"\r\n------xy\r\n",
    b"------x--\r\n",
    b"\r\n\r\n",
    b"\x00\xff",
];

/// Bytes without a delimiter, full of beginnings of some.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(&NEARLY[..]).prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()).prop_filter(
        "no delimiter",
        |bytes| {
            let mut body = bytes.clone();
            body.extend_from_slice(b"\r\n------x--");
            reference_end(&body, 0).map(|(at, _, _)| at) == Some(bytes.len())
        },
    )
}

/// The first delimiter, by its definition: its place, the place behind it, and true if it closes the form.
fn reference_end(body: &[u8], from: usize) -> Option<(usize, usize, bool)> {
    (from..body.len()).find_map(|at| {
        let rest = body[at..].strip_prefix(b"\r\n------x")?;
        if rest.starts_with(b"--") {
            return Some((at, body.len() - rest.len() + 2, true));
        }
        let line = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
        let ends = line <= 64 && rest[line..].starts_with(b"\r\n");
        ends.then(|| (at, body.len() - rest.len() + line, false))
    })
}

/// Names and values of fields.
type WholeFields = Vec<(String, Vec<u8>)>;

/// A form that is in memory as a whole, read by cutting it at its delimiters.
fn reference(body: &[u8]) -> Option<(WholeFields, Option<Vec<u8>>)> {
    let body = [b"\r\n", body].concat();
    let (_, mut next, mut is_closed) = reference_end(&body, 0)?;
    let (mut fields, mut file) = (Vec::new(), None);
    while !is_closed {
        let head = body[next..].windows(4).position(|four| four == b"\r\n\r\n")? + next;
        let (at, behind, closes) = reference_end(&body, head + 4)?;
        let PartHead { name, .. } = PartHead::parse(body.get(next + 2..head).unwrap_or_default())?;
        match (name.as_str(), &file) {
            ("file", None) => file = Some(body[head + 4..at].to_vec()),
            ("file", Some(_)) => return None,
            (_, None) => fields.push((name, body[head + 4..at].to_vec())),
            (_, Some(_)) => {}
        }
        (next, is_closed) = (behind, closes);
    }
    Some((fields, file))
}

#[test]
fn the_bound_of_a_head_is_the_same_wherever_the_body_is_split() {
    let start = "Content-Disposition: form-data; name=\"a\"\r\nX: ";
    for len in HEAD_BYTES_MAX - 6..HEAD_BYTES_MAX + 6 {
        let head = format!("{start}{}", "x".repeat(len - start.len()));
        let body = form(&[part(&head, b"1"), file(b"2")]);
        let whole = parsed(&body, &[]);
        assert_eq!(whole.is_ok(), len <= HEAD_BYTES_MAX, "{len}");
        for pieces in [1, 2, 3, 4, 5, 7, HEAD_BYTES_MAX] {
            assert_eq!(parsed(&body, &[pieces]), whole, "{len} bytes in pieces of {pieces}");
        }
    }
}

proptest! {
    #[test]
    fn a_form_comes_out_as_it_went_in_wherever_it_is_split(
        values in prop::collection::vec("[a-z\\r\\n-]{0,40}", 0..5),
        content in bytes(),
        behind in prop::collection::vec("[a-z]{0,60}", 0..3),
        preamble in "[a-z\\r\\n-]{0,30}",
        splits in prop::collection::vec(1usize..60, 1..6),
    ) {
        let mut parts: Vec<_> = values.iter().enumerate()
            .map(|(index, value)| field(&format!("f{index}"), value))
            .collect();
        parts.push(file(&content));
        parts.extend(behind.iter().map(|value| field("behind", value)));
        let body = form(&parts);
        let body = [preamble.as_bytes(), if preamble.is_empty() { b"" } else { b"\r\n" }, &body].concat();
        let mut wanted: Vec<_> = values.iter().enumerate()
            .map(|(index, value)| FormEvent::Field(format!("f{index}"), value.clone()))
            .collect();
        let head = b"filename=\"a.txt\"\r\n\r\n";
        let position = body.windows(head.len()).position(|here| here == head).unwrap() + head.len();
        wanted.push(FormEvent::File { filename: Some("a.txt".into()), position: position as u64 });
        if !content.is_empty() {
            wanted.push(FormEvent::Data(content.clone().into()));
        }
        wanted.push(FormEvent::FileEnd);
        for pieces in [&[][..], &[1], &splits] {
            prop_assert_eq!(parsed(&body, pieces), Ok(wanted.clone()));
        }
        let of_fields = values.iter().enumerate()
            .map(|(index, value)| (format!("f{index}"), value.clone().into_bytes()));
        prop_assert_eq!(reference(&body), Some((of_fields.collect(), Some(content))));
    }

    /// Damaged forms are read or refused, but never differently for other pieces, and never with a panic.
    #[test]
    fn pieces_make_no_difference_to_a_damaged_form(
        content in bytes(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 0..6),
        splits in prop::collection::vec(1usize..40, 1..6),
    ) {
        let mut body = form(&[field("key", "k"), file(&content), field("more", "m")]);
        for (place, byte, kind) in damage {
            let at = place.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                _ => body.insert(at, byte),
            }
        }
        let whole = parsed(&body, &[]);
        for pieces in [&[1][..], &splits] {
            prop_assert_eq!(&parsed(&body, pieces), &whole);
        }
        if let Ok(events) = whole {
            let found = events.iter().filter_map(|event| match event {
                FormEvent::Field(name, value) => Some((name.clone(), value.clone().into_bytes())),
                _ => None,
            });
            let data = events.iter().find_map(|event| match event {
                FormEvent::Data(bytes) => Some(bytes.to_vec()),
                _ => None,
            });
            let has_file = events.contains(&FormEvent::FileEnd);
            let (fields, content) = reference(&body).expect("the reference reads it as well");
            prop_assert_eq!(fields, found.collect::<Vec<_>>());
            prop_assert_eq!(content, has_file.then(|| data.unwrap_or_default()));
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        heads in prop::collection::vec(any::<u8>(), 0..80),
        pieces in prop::collection::vec(1usize..30, 1..4),
    ) {
        let _ = parsed(&body, &pieces);
        let _ = parsed(&[b"------x\r\n", &heads[..], b"\r\n\r\n", &body].concat(), &pieces);
        let _ = PartHead::parse(&heads);
    }
}

#[test]
fn a_body_that_is_no_form_is_refused() {
    let whole = form(&[field("key", "k"), file(b"bytes")]);
    for end in 0..whole.len() - 2 {
        assert_eq!(code(&whole[..end]), ErrorCode::MalformedPostRequest, "{end}");
    }
    assert!(parsed(&whole[..whole.len() - 2], &[]).is_ok(), "the last line end is not needed");
    for head in [
        "",
        "Content-Type: text/plain",
        "Content-Disposition: form-data",
        "Content-Disposition: file; name=\"file\"",
        "Content-Disposition: form-data; name=\"key",
        "Content-Disposition: form-data; name=\"a\" x; filename=\"b\"",
        "Content-Disposition: form-data; name=\"a\"; name=\"b\"",
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"",
        "Content-Disposition: form-data; name=\"a\"; filename=\"b\"; filename=\"c\"",
    ] {
        assert_eq!(code(&form(&[part(head, b"v")])), ErrorCode::MalformedPostRequest, "{head}");
    }
    assert_eq!(
        code(&form(&[part("Content-Disposition: form-data; name=\"a\"", b"\xff")])),
        ErrorCode::InvalidArgument
    );
    assert_eq!(code(&form(&[file(b"1"), file(b"2")])), ErrorCode::InvalidArgument);
}

#[test]
fn a_form_is_bounded_before_its_file() {
    let value = |len: usize| form(&[field("a", &"v".repeat(len - 1)), file(b"bytes")]);
    assert!(parsed(&value(FIELD_BYTES_MAX), &[100]).is_ok());
    let many = |count: usize| form(&[vec![field("a", ""); count].concat(), file(b"bytes")]);
    assert!(parsed(&many(900), &[100]).is_ok());
    let preamble = [&[b'a'; 70_000][..], &form(&[file(b"bytes")])].concat();
    let endless =
        [b"------x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n", &[b'a'; 30_000][..]]
            .concat();
    for body in [value(FIELD_BYTES_MAX + 1), many(1500), preamble, endless] {
        for pieces in [&[][..], &[1], &[1000]] {
            let error = parsed(&body, pieces).unwrap_err();
            assert_eq!(error.code, ErrorCode::MaxPostPreDataLengthExceeded);
        }
    }
    let head = [
        b"------x\r\nContent-Disposition: form-data; name=\"",
        &[b'a'; 9000][..],
        b"\"\r\n\r\nv\r\n------x--",
    ]
    .concat();
    assert_eq!(code(&head), ErrorCode::MalformedPostRequest);
    // Nothing of this holds behind the file, which may be long itself.
    let behind = form(&[file(&[7; 200_000]), field("a", &"v".repeat(200_000))]);
    assert!(parsed(&behind, &[3000]).is_ok());
}

#[test]
fn names_and_file_names_are_read_as_clients_write_them() {
    for (head, name, filename) in [
        ("Content-Disposition: form-data; name=\"key\"", "key", None),
        ("content-disposition:form-data;name=key;filename=a.txt", "key", Some("a.txt")),
        ("Content-Disposition: FORM-DATA; Name=\"file\"; FileName=\"\"", "file", Some("")),
        (
            "Content-Disposition: form-data; name=\"file\"; filename=\"sa\\\"y; \\\\ hi.txt\"",
            "file",
            Some("sa\"y; \\ hi.txt"),
        ),
        (
            "Content-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\a.txt\"",
            "file",
            Some("C:\\dir\\a.txt"),
        ),
        (
            "Content-Disposition: form-data; name=\"file\"; filename=\"č—ž.txt\"",
            "file",
            Some("č—ž.txt"),
        ),
        (
            "Content-Disposition: form-data;\r\n name=\"file\";\r\n\tfilename=\"a\"",
            "file",
            Some("a"),
        ),
        (
            "X-A: form-data; name=\"b\"\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain",
            "a",
            None,
        ),
    ] {
        let wanted = PartHead { name: name.into(), filename: filename.map(str::to_owned) };
        assert_eq!(PartHead::parse(head.as_bytes()), Some(wanted), "{head}");
    }
}

#[test]
fn a_boundary_is_read_with_quotation_marks_and_without() {
    let read = |text: &[u8]| {
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_bytes(text).unwrap());
        boundary(&headers)
    };
    for (text, wanted) in [
        ("multipart/form-data; boundary=abc", "abc"),
        ("Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a b:c\"", "a b:c"),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW;",
            "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
    ] {
        assert_eq!(read(text.as_bytes()), Ok(wanted.to_owned()), "{text}");
    }
    let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
    for text in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=a; boundary=b",
        &long,
    ] {
        assert_eq!(
            read(text.as_bytes()).unwrap_err().code,
            ErrorCode::MalformedPostRequest,
            "{text}"
        );
    }
    for text in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-datax; boundary=a", ""]
    {
        assert_eq!(
            read(text.as_bytes()).unwrap_err().code,
            ErrorCode::PreconditionFailed,
            "{text}"
        );
    }
    assert_eq!(boundary(&http::HeaderMap::new()).unwrap_err().code, ErrorCode::PreconditionFailed);
}

#[test]
fn the_file_name_is_filled_in_without_its_folders() {
    let of = |filename: Option<&str>| {
        let mut fields = FormFields::default();
        fields.push("Key".into(), "up/${filename}".into()).unwrap();
        fields.push("X-Ignore-Key".into(), "1".into()).unwrap();
        fields.push("policy".into(), "${filename}".into()).unwrap();
        fields.set_filename(filename.map(str::to_owned)).unwrap();
        assert_eq!(fields.get("POLICY").unwrap(), "${filename}");
        assert_eq!(fields.all().count(), 2);
        fields.get("key").unwrap()
    };
    for (filename, key) in [
        (Some("a.txt"), "up/a.txt"),
        (Some("C:\\Program Files\\dir\\a.txt"), "up/a.txt"),
        (Some("/home/a/č.txt"), "up/č.txt"),
        (Some(""), "up/"),
        (None, "up/${filename}"),
    ] {
        assert_eq!(of(filename), key, "{filename:?}");
    }
    for (uses, len, is_taken) in
        [(20, 1024, true), (21, 1024, false), (1, 1025, false), (900, 22, true), (900, 23, false)]
    {
        let mut fields = FormFields::default();
        fields.push("key".into(), "${filename}".repeat(uses)).unwrap();
        assert_eq!(
            fields.set_filename(Some("n".repeat(len))).is_ok(),
            is_taken,
            "{uses} times {len}"
        );
    }
    let mut fields = FormFields::default();
    fields.push("Key".into(), "a".into()).unwrap();
    assert_eq!(fields.push("kEY".into(), "b".into()).unwrap_err().code, ErrorCode::InvalidArgument);
}

/// The example of "Browser-Based Upload using HTTP POST", Amazon S3 API reference.
#[test]
fn the_example_of_aws_has_the_signature_that_aws_says() {
    let policy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
    let fields = |pairs: &[(&str, &str)]| {
        let mut fields = FormFields::default();
        pairs
            .iter()
            .for_each(|(name, value)| fields.push((*name).into(), (*value).into()).unwrap());
        FormCredentials::of(&fields)
    };
    let signed = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"),
        ("X-Amz-Date", "20151229T000000Z"),
        ("Policy", policy),
        ("X-Amz-Signature", "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"),
    ];
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let credentials = fields(&signed).unwrap().unwrap();
    assert_eq!(credentials.access_key, "AKIAIOSFODNN7EXAMPLE");
    assert_eq!(credentials.verify(secret, Some("us-east-1")), Ok(()));
    assert_eq!(credentials.verify(secret, None), Ok(()));
    assert_eq!(
        credentials.verify(secret, Some("eu-west-1")).unwrap_err().code,
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        credentials.verify("other", Some("us-east-1")).unwrap_err().code,
        ErrorCode::SignatureDoesNotMatch
    );
    for (index, (name, value)) in signed.iter().enumerate() {
        let mut less = signed.to_vec();
        less.remove(index);
        assert_eq!(fields(&less).unwrap_err().code, ErrorCode::InvalidArgument, "without {name}");
        let mut other = signed;
        let changed = format!("{}X", &value[..value.len() - 1]);
        other[index].1 = &changed;
        let refused =
            fields(&other).and_then(|found| found.unwrap().verify(secret, Some("us-east-1")));
        assert!(refused.is_err(), "another {name}: {changed}");
    }
    assert_eq!(fields(&signed[3..4]), Ok(None), "a policy alone is no signature");
    let second = [
        ("AWSAccessKeyId", "A"),
        ("policy", "e30="),
        ("signature", "9EGexmlRtNvRBKdu7VFwqfEpbRI="),
    ];
    let mut both = signed.to_vec();
    both.extend_from_slice(&second[..1]);
    assert_eq!(fields(&both).unwrap_err().code, ErrorCode::InvalidArgument);
    for index in 0..second.len() {
        let mut less = second.to_vec();
        less.remove(index);
        assert_eq!(fields(&less).unwrap_err().code, ErrorCode::InvalidArgument);
    }
    let refused = fields(&second).unwrap().unwrap().verify("other", None);
    assert_eq!(refused.unwrap_err().code, ErrorCode::SignatureDoesNotMatch);
}
