// Asks the browser for a passkey and puts its answer into the form. It sends nothing by itself.
"use strict";

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const said = document.getElementById("passkey-said");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = "Waiting for your passkey.";
    try {
      const options = JSON.parse(form.dataset.options);
      const answer = form.dataset.passkey === "create"
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
      form.elements.passkey.value = JSON.stringify(answer);
      form.submit();
    } catch (problem) {
      said.textContent = `The passkey did not answer (${problem.name}). Nothing was sent; you can try again.`;
    }
  });
}
