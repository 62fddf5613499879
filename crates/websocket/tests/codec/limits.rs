//! Sizes: what is refused before it is read, what is held in memory, and when it is given back.

use agentbench_websocket::{DecodeError, Decoder, Deflater, Inflater, Input, Limits, Message, Role};
use bytes::BytesMut;

use crate::support::{
    BINARY, BOTH, CONTINUATION, FIN, OwnedMessage, PING, RSV1, Receiver, TEXT, context_takeover, frame_to,
    no_context_takeover,
};

const MAX: usize = 16 << 20;

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 96, "{} bytes", size_of::<Decoder>());
}

#[test]
fn a_whole_frame_is_lent_from_the_input() {
    for role in BOTH {
        let mut wire = frame_to(role, FIN | BINARY, &[7; 100]);
        let payload_at = wire[wire.len() - 100..].as_ptr();
        let (mut decoder, mut inflater) = (Decoder::new(role, Limits::default(), None), Inflater::new());
        let mut input = Input::new(&mut wire);
        let Ok(Some(Message::Binary(payload))) = decoder.next(&mut input, &mut inflater) else { panic!() };
        assert_eq!((payload.as_ptr(), payload), (payload_at, &[7; 100][..]));
        assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn a_claimed_size_allocates_nothing() {
    for role in BOTH {
        let claimed = frame_to(role, FIN | BINARY, &vec![0; MAX]);
        let mut receiver = Receiver::new(role, MAX, None);
        let header = if role == Role::Server { 14 } else { 10 };
        receiver.read(&claimed[..header], |_| panic!()).unwrap();
        assert_eq!(receiver.decoder.buffered(), 0);
        receiver.read(&claimed[header..header + 10], |_| panic!()).unwrap();
        assert!(receiver.decoder.buffered() <= 64, "{} bytes", receiver.decoder.buffered());

        // And goes on to follow what arrives, at most twice over.
        let mut arrived = 10;
        for piece in claimed[header + 10..].chunks(60_000) {
            receiver
                .read(piece, |message| assert!(message == OwnedMessage::Binary(vec![0; MAX]).borrowed()))
                .unwrap();
            arrived += piece.len();
            let bound = (2 * arrived).min(MAX);
            assert!(receiver.decoder.buffered() <= bound, "{} for {arrived}", receiver.decoder.buffered());
        }
        assert_eq!(receiver.decoder.buffered(), 0, "nothing is held between messages");
    }
}

#[test]
fn nothing_is_held_between_messages() {
    let role = Role::Server;
    let mut receiver = Receiver::new(role, MAX, None);
    let wire = [frame_to(role, TEXT, b"some "), frame_to(role, FIN | CONTINUATION, b"text")].concat();
    for cut in 1..wire.len() {
        receiver.read(&wire[..cut], |_| panic!()).unwrap();
        receiver.read(&wire[cut..], |_| ()).unwrap();
        assert_eq!(receiver.decoder.buffered(), 0);
    }
    let ping = frame_to(role, FIN | PING, b"ping");
    for cut in 1..ping.len() {
        receiver.read(&ping[..cut], |_| panic!()).unwrap();
        receiver.read(&ping[cut..], |_| ()).unwrap();
        assert_eq!(receiver.decoder.buffered(), 0);
    }
}

#[test]
fn a_big_message_does_not_leave_its_buffer_to_a_small_one() {
    let role = Role::Client;
    let big = frame_to(role, FIN | BINARY, &vec![7; 1 << 20]);
    let small = frame_to(role, FIN | BINARY, &[7; 20]);
    let mut receiver = Receiver::new(role, MAX, None);
    receiver.read(&big[..1000], |_| panic!()).unwrap();
    receiver.read(&[&big[1000..], &small[..12]].concat(), |_| ()).unwrap();
    assert!(receiver.decoder.buffered() <= 64);
}

#[test]
fn too_big_is_said_by_the_head() {
    for role in BOTH {
        let head = if role == Role::Server { 8 } else { 4 };
        let too_big = frame_to(role, FIN | BINARY, &[0; 1001]);
        let outcome = Receiver::new(role, 1000, None).outcome(&too_big[..head], &[]);
        assert_eq!(outcome.error, Some(DecodeError::TooBig));

        let just_right = frame_to(role, FIN | BINARY, &[0; 1000]);
        let outcome = Receiver::new(role, 1000, None).outcome(&just_right, &[]);
        assert_eq!(outcome.error, None);

        let mut fragments = frame_to(role, BINARY, &[0; 600]);
        fragments.extend(frame_to(role, FIN | PING, &[0; 125]));
        fragments.extend(&frame_to(role, FIN | CONTINUATION, &[0; 401])[..head]);
        let outcome = Receiver::new(role, 1000, None).outcome(&fragments, &[]);
        assert_eq!((outcome.messages.len(), outcome.error), (1, Some(DecodeError::TooBig)));
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let mut bomb = BytesMut::new();
    Deflater::new(9).compress(15, &vec![0; 64 << 20], &mut bomb);
    assert!(bomb.len() < 100_000);
    for agreed in [no_context_takeover(), context_takeover(15)] {
        for sizes in [&[][..], &[1000]] {
            let wire = frame_to(Role::Server, FIN | RSV1 | BINARY, &bomb);
            let outcome = Receiver::new(Role::Server, 1 << 20, Some(&agreed)).outcome(&wire, sizes);
            assert_eq!(outcome.error, Some(DecodeError::TooBig));
        }
    }
}

#[test]
fn an_inflated_message_may_be_as_large_as_the_limit_and_no_larger() {
    let agreed = no_context_takeover();
    for (size, error) in [(9_999, None), (10_000, None), (10_001, Some(DecodeError::TooBig))] {
        let mut payload = BytesMut::new();
        Deflater::new(3).compress(15, &vec![b'x'; size], &mut payload);
        let wire = frame_to(Role::Server, FIN | RSV1 | TEXT, &payload);
        assert_eq!(Receiver::new(Role::Server, 10_000, Some(&agreed)).outcome(&wire, &[]).error, error);
    }
}
