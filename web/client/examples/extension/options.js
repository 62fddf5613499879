// Where to record to.
const form = document.getElementById("options");

for (const [name, value] of Object.entries(await chrome.storage.local.get(["url", "token", "session"]))) form.elements[name].value = value;

form.onsubmit = async (event) => {
  event.preventDefault();
  await chrome.storage.local.set(Object.fromEntries(new FormData(form)));
  document.getElementById("saved").value = "saved";
};
