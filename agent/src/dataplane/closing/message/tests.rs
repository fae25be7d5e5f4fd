use super::*;

const COOKIE: u64 = 0x0102_0304_0506_0708;

fn id(remote: [u8; 16], port: u16) -> [u8; ID] {
    let mut id = [0; ID];
    id[2..4].copy_from_slice(&port.to_be_bytes());
    id[20..36].copy_from_slice(&remote);
    let [low, high] = [COOKIE & 0xffff_ffff, COOKIE >> 32].map(|half| u32::try_from(half).unwrap());
    id[40..44].copy_from_slice(&low.to_ne_bytes());
    id[44..48].copy_from_slice(&high.to_ne_bytes());
    id
}

/// A message with its header.
fn wrapped(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(body);
    finish(message)
}

fn socket_body(family: i32, id: [u8; ID], information: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![super::family(family), 1, 0, 0];
    body.extend(id);
    body.extend([0; 20]);
    if let Some(information) = information {
        // One that means nothing here comes first, with its padding.
        body.extend(attribute(8, &[1, 2]));
        body.extend(attribute(INET_DIAG_INFO, information));
    }
    body
}

fn v4() -> [u8; ID] {
    let mut remote = [0; 16];
    remote[..4].copy_from_slice(&[10, 9, 0, 1]);
    id(remote, 8080)
}

#[test]
fn a_request_to_end_a_socket_names_all_that_was_listed() {
    let body = socket_body(libc::AF_INET, v4(), None);
    let listed = socket(&body).unwrap();
    let request = destroy(9, 17, &listed);
    assert_eq!(request.len(), HEADER + REQUEST);
    assert_eq!(u32_at(&request, 0) as usize, request.len());
    assert_eq!(u16_at(&request, 4), SOCK_DESTROY);
    assert_eq!(request[HEADER..HEADER + 3], [2, 17, 0]);
    assert_eq!(request[HEADER + 8..], v4());
}

#[test]
fn a_v4_mapped_peer_is_the_ipv4_one() {
    let mapped: [u8; 16] = std::net::Ipv4Addr::new(10, 9, 0, 1)
        .to_ipv6_mapped()
        .octets();
    let listed = |family, id| socket(&socket_body(family, id, None)).unwrap();
    let of_v4 = listed(libc::AF_INET, v4());
    let of_v6 = listed(libc::AF_INET6, id(mapped, 8080));
    assert_eq!(of_v4.remote(), of_v6.remote());
    assert_eq!(of_v4.remote().1.get(), 8080);
    assert_eq!((of_v4.cookie(), of_v4.idle), (COOKIE, None));
}

#[test]
fn idleness_is_since_the_later_of_sending_and_receiving() {
    let mut information = [0; 104];
    information[LAST_DATA_SENT..][..4].copy_from_slice(&700u32.to_ne_bytes());
    information[LAST_DATA_RECEIVED..][..4].copy_from_slice(&300u32.to_ne_bytes());
    let body = socket_body(libc::AF_INET, v4(), Some(&information));
    let idle = socket(&body).unwrap().idle;
    assert_eq!(idle, Some(Duration::from_millis(300)));
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(value);
    attribute.resize(aligned(attribute.len()), 0);
    attribute
}

#[test]
fn a_subflow_is_of_mptcp_where_the_peer_speaks_it() {
    const NESTED: u16 = 0x8000;
    let with = |flags: u32| {
        let token = attribute(2, &[1; 4]);
        let flags = attribute(MPTCP_SUBFLOW_ATTR_FLAGS, &flags.to_ne_bytes());
        let subflow = attribute(INET_ULP_INFO_MPTCP | NESTED, &[token, flags].concat());
        let name = attribute(1, b"mptcp\0");
        let protocol = attribute(INET_DIAG_ULP_INFO | NESTED, &[name, subflow].concat());
        let body = [socket_body(libc::AF_INET, v4(), None), protocol].concat();
        socket(&body).unwrap().is_mptcp
    };
    assert!(with(0b1100_0011));
    // It was asked for, and the peer did not answer.
    assert!(!with(0b1000_0010));
}

#[test]
fn an_answer_is_read_to_its_end_and_tells_whether_it_is_whole() {
    let listed = socket_body(libc::AF_INET, v4(), None);
    let bytes = [
        wrapped(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP_INTR, 5, &listed),
        wrapped(SOCK_DIAG_BY_FAMILY, 0, 4, &listed),
        wrapped(NLMSG_DONE, 0, 5, &[0; 4]),
    ]
    .concat();
    let (messages, is_interrupted) = read(&bytes, 5);
    assert!(matches!(
        messages[..],
        [Message::Socket(_), Message::End(Ok(()))]
    ));
    assert!(is_interrupted);
    let refused = (-libc::EOPNOTSUPP).to_ne_bytes();
    let (messages, is_interrupted) = read(&wrapped(NLMSG_ERROR, 0, 5, &refused), 5);
    let [Message::End(Err(error))] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
    assert!(!is_interrupted);
}

#[test]
fn what_is_cut_short_ends_the_reading() {
    let listed = socket_body(libc::AF_INET6, v4(), Some(&[0; 104]));
    let whole = wrapped(SOCK_DIAG_BY_FAMILY, 0, 1, &listed);
    for length in 0..whole.len() {
        assert!(read(&whole[..length], 1).0.is_empty(), "{length}");
        // A body may be short while its header is right.
        let body = &listed[..length.min(listed.len())];
        read(&wrapped(SOCK_DIAG_BY_FAMILY, 0, 1, body), 1);
    }
    // Lengths that lead nowhere.
    for length in [0u32, 3, 15, u32::MAX] {
        let mut bytes = whole.clone();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        assert!(read(&bytes, 1).0.is_empty(), "{length}");
    }
}
