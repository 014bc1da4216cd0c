"""The hosts: what one must give (`protocol`), and an adapter for each. Only here, and on the page, is one imported."""
