//! What the demo's agents do: three tests, step by step.

use super::picture::Colour;

/// A test that an agent runs.
pub(super) struct Story {
    /// The agent's name as shown in sessions.
    pub(super) agent: &'static str,
    /// The user that it connects as.
    pub(super) user: &'static str,
    /// The test case.
    pub(super) test: &'static str,
    /// Host of the pages.
    pub(super) host: &'static str,
    pub(super) accent: Colour,
    pub(super) steps: &'static [Step],
}

/// One step of a story.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) title: &'static str,
    /// Labels, and the text typed into their fields.
    pub(super) fields: &'static [(&'static str, &'static str)],
    pub(super) button: &'static str,
    /// The request that the page sends when the button is pressed.
    pub(super) request: (&'static str, &'static str),
    /// What may go wrong here.
    pub(super) trouble: Option<&'static str>,
}

const fn step(
    name: &'static str,
    path: &'static str,
    title: &'static str,
    fields: &'static [(&'static str, &'static str)],
    button: &'static str,
    request: (&'static str, &'static str),
    trouble: Option<&'static str>,
) -> Step {
    Step { name, path, title, fields, button, request, trouble }
}

pub(super) const STORIES: [Story; 3] = [
    Story {
        agent: "MGX",
        user: "demo-mgx",
        test: "shop-checkout",
        host: "https://shop.example",
        accent: Colour::Blue,
        steps: &[
            step("Open the shop", "/", "The corner shop", &[], "Browse", ("GET", "/api/products"), None),
            step(
                "Search for a kettle",
                "/search",
                "Search",
                &[("What are you looking for?", "kettle 1.7 l")],
                "Search",
                ("GET", "/api/search?q=kettle"),
                None,
            ),
            step(
                "Put it into the cart",
                "/products/kettle-17",
                "Kettle 1.7 L",
                &[("Colour", "red"), ("Pieces", "2")],
                "Add to cart",
                ("POST", "/api/cart"),
                Some("the cart's badge still shows 0"),
            ),
            step(
                "Fill in the address",
                "/checkout/address",
                "Your address",
                &[
                    ("Name", "Ada Example"),
                    ("Street", "12 Test Lane"),
                    ("City", "Sampleton"),
                    ("Code", "40213"),
                ],
                "Continue",
                ("POST", "/api/address"),
                None,
            ),
            step(
                "Use a voucher",
                "/checkout/voucher",
                "Voucher",
                &[("Code", "WELCOME10")],
                "Redeem",
                ("POST", "/api/vouchers/redeem"),
                Some("the voucher was deducted twice"),
            ),
            step(
                "Pay with the test card",
                "/checkout/pay",
                "Payment",
                &[("Card", "4242 4242 4242 4242"), ("Valid until", "12/29"), ("Check digits", "123")],
                "Pay now",
                ("POST", "/api/payments"),
                Some("the payment service answered too late"),
            ),
            step(
                "Read the confirmation",
                "/orders/1042",
                "Thank you!",
                &[],
                "Print",
                ("GET", "/api/orders/1042"),
                None,
            ),
        ],
    },
    Story {
        agent: "Replit",
        user: "demo-replit",
        test: "signup",
        host: "https://notes.example",
        accent: Colour::Green,
        steps: &[
            step("Open the start page", "/", "Notes for teams", &[], "Sign up", ("GET", "/api/plans"), None),
            step(
                "Fill in the form",
                "/signup",
                "Create account",
                &[("E-mail", "grace@example.org"), ("User name", "grace"), ("Password", "************")],
                "Create",
                ("POST", "/api/users"),
                Some("the form accepted a password of three letters"),
            ),
            step(
                "Confirm the e-mail",
                "/confirm",
                "Check your mail",
                &[("Code from the mail", "771 204")],
                "Confirm",
                ("POST", "/api/users/confirm"),
                Some("the code had expired after a minute"),
            ),
            step(
                "Choose a plan",
                "/plans",
                "Choose a plan",
                &[("Plan", "free"), ("People", "3")],
                "Take it",
                ("PUT", "/api/team/plan"),
                None,
            ),
            step(
                "Write a first note",
                "/notes/new",
                "New note",
                &[("Title", "Hello"), ("Text", "First note of a test")],
                "Save",
                ("POST", "/api/notes"),
                None,
            ),
            step("Sign out", "/bye", "See you", &[], "Home", ("POST", "/api/logout"), None),
        ],
    },
    Story {
        agent: "Hunter",
        user: "demo-hunter",
        test: "bug-hunt",
        host: "https://kanban.example",
        accent: Colour::Violet,
        steps: &[
            step("Open the board", "/board", "Board", &[], "Reload", ("GET", "/api/board"), None),
            step(
                "Make a card with a very long name",
                "/board/cards/new",
                "New card",
                &[("Name", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")],
                "Create",
                ("POST", "/api/cards"),
                Some("the name runs out of its card"),
            ),
            step(
                "Try markup in a comment",
                "/board/cards/7",
                "Card 7",
                &[("Comment", "(img onerror=alert)")],
                "Send",
                ("POST", "/api/cards/7/comments"),
                Some("the comment is shown without escaping"),
            ),
            step(
                "Move a card twice at once",
                "/board",
                "Board",
                &[("First move", "todo - doing"), ("Second move", "todo - done")],
                "Move",
                ("PATCH", "/api/cards/7"),
                Some("the card is in two columns"),
            ),
            step(
                "Ask for a negative page",
                "/archive?page=-1",
                "Archive",
                &[("Page", "-1")],
                "Go",
                ("GET", "/api/archive?page=-1"),
                Some("TypeError: Cannot read properties of undefined (reading 'length')"),
            ),
            step(
                "Write the findings down",
                "/report",
                "Report",
                &[("Findings", "see evidence"), ("Severity", "high")],
                "Hand in",
                ("POST", "/api/report"),
                None,
            ),
        ],
    },
];
