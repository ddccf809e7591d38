"""What a person asks for, validated: nets, search spaces and studies."""
